#!/usr/bin/env bash
# Run the stages of this recipe; ./run.sh --help lists the options. The first call installs what is needed.
set -euo pipefail
recipe=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$recipe
until [ -f "$root/tools/python.sh" ] || [ "$root" = / ]; do root=$(dirname "$root"); done
if [ "$root" = / ]; then python=python; else python=$("$root/tools/python.sh"); fi
exec "$python" -m espnet3 run --recipe "$recipe" "$@"
