#!/usr/bin/env bash
# Set up what is missing and run the test suite, or the tests of some paths.
#
#   tools/test.sh [--quick | --lowest] [pytest's options and paths]
#
#   --quick   leave out the tests marked slow: a few minutes
#   --lowest  those of --quick, in an environment of its own (.venv-lowest), with the lowest versions that
#             pyproject.toml allows
#
# Installs what tools/install.sh --dev does. Debian's packages of Slurm and Chromium are installed, as root, by the
# first chosen test that needs them (in tests/slurm, and those that open the report's page; none is quick); where
# that can't be done, these tests are skipped, and the summary says why.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
lowest=
case ${1:-} in
    -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"; exit 0 ;;
    --quick) shift; set -- -m 'not slow' "$@" ;;
    --lowest) shift; lowest=--lowest; set -- -m 'not slow' "$@" ;;
esac
tools/install.sh --dev $lowest
if [ -n "$lowest" ]; then export VIRTUAL_ENV=$PWD/.venv-lowest PATH=$PWD/.venv-lowest/bin:$PATH; fi
python=$(tools/python.sh)
# Tests start hundreds of processes: what they import is compiled once, also in an image that turns that off.
unset PYTHONDONTWRITEBYTECODE
# Three workers with one thread each, on two cores: tests start processes, and wait for Slurm.
export OMP_NUM_THREADS=1
exec "$python" -m pytest -rs --numprocesses "${ESPNET3_TEST_WORKERS:-3}" \
    --dist loadgroup --no-loadscope-reorder "$@"
