#!/usr/bin/env bash
# Print the Python that runs this clone: the active one if espnet3 imports there, else that of .venv,
# which is made and filled on the first call (what that prints goes to standard error).
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
if [ -n "${VIRTUAL_ENV:-}${CONDA_PREFIX:-}" ] && (cd / && python -c 'import espnet3') 2> /dev/null; then
    command -v python
    exit
fi
active=${VIRTUAL_ENV:-}
if [ -z "$active" ] && [ "${CONDA_DEFAULT_ENV:-base}" != base ]; then active=${CONDA_PREFIX:-}; fi
if [ -n "$active" ] && [ "$active" != "$root/.venv" ]; then
    echo "the active environment $active has no espnet3: using $root/.venv" \
        "(tools/install.sh installs into the active one)" >&2
fi
VIRTUAL_ENV='' CONDA_PREFIX='' "$root/tools/install.sh" >&2
echo "$root/.venv/bin/python"
