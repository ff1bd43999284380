#!/usr/bin/env bash
# Run the stages of this recipe; ./run.sh --help lists the options. The first call installs what is needed.
set -euo pipefail
recipe=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
if [ ! -d "$recipe/conf" ] && [ -n "${SLURM_JOB_ID:-}" ]; then  # sbatch runs a copy of this file
    job=$(scontrol show job "$SLURM_JOB_ID")
    command=${job#*$'\n   Command='} command=${command%%$'\n   '*}
    recipe=$(dirname "${command%" $*"}")
fi
root=$recipe
until [ -f "$root/tools/python.sh" ] || [ "$root" = / ]; do root=$(dirname "$root"); done
if [ "$root" = / ]; then python=python; else python=$("$root/tools/python.sh"); fi
exec "$python" -m espnet3 run --recipe "$recipe" "$@"
