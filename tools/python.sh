#!/usr/bin/env bash
# Print the Python that runs this clone: the active one if espnet3 imports there, else that of .venv,
# which is made and filled on the first call (what that prints goes to standard error).
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
if [ -n "${VIRTUAL_ENV:-}${CONDA_PREFIX:-}" ] && (cd / && python -c 'import espnet3') 2> /dev/null; then
    command -v python
    exit
fi
VIRTUAL_ENV='' CONDA_PREFIX='' "$root/tools/install.sh" >&2
echo "$root/.venv/bin/python"
