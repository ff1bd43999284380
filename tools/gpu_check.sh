#!/usr/bin/env bash
# Try on a GPU what cannot be tried without one; takes at most 8 minutes.
#
#   tools/gpu_check.sh [--list] [CHECK ...]
#
#   --list  say what the checks are; CHECK chooses some of them by name
#
# With two GPUs two ranks train over NCCL; with one that is left out. Exit code 0: all went well; 1: a check failed;
# 2: there is no GPU that PyTorch can use (--rehearse runs on the CPU all that can be run there).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
case ${1:-} in
    -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"; exit 0 ;;
esac
python=$(tools/python.sh)
export PYTHONPATH=$PWD:$PWD/tools:$PWD/tests/support${PYTHONPATH:+:$PYTHONPATH}
code=0
timeout --kill-after=10 480 "$python" -m gpu_checks "$@" || code=$?
if [ "$code" = 124 ]; then echo "gpu_check.sh: not done after 8 minutes" >&2; fi
exit "$code"
