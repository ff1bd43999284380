#!/usr/bin/env bash
# Run the stages of this recipe: ./run.sh --help. The first call makes the virtual environment.
set -euo pipefail
recipe=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$recipe
until [ -f "$root/tools/python.sh" ] || [ "$root" = / ]; do root=$(dirname "$root"); done
python=$("$root/tools/python.sh")
exec "$python" -m espnet3 run --recipe "$recipe" "$@"
