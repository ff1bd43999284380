#!/usr/bin/env bash
# Set up what is missing and run the test suite.
#
#   tools/test.sh [--quick | --lowest] [pytest's options and paths]
#
#   --quick   leave out the tests marked slow: a few minutes
#   --lowest  those of --quick, in an environment of its own (.venv-lowest), with the lowest versions that
#             pyproject.toml allows
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
quick='' lowest=''
case ${1:-} in
    -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"; exit 0 ;;
    --quick) shift; quick=yes; set -- -m 'not slow' "$@" ;;
    --lowest) shift; quick=yes lowest=--lowest; set -- -m 'not slow' "$@" ;;
esac
tools/install.sh --dev $lowest
if [ -n "$lowest" ]; then export VIRTUAL_ENV=$PWD/.venv-lowest PATH=$PWD/.venv-lowest/bin:$PATH; fi
# The tests under tests/slurm need a real Slurm: Debian's packages, which only root can install.
[ -n "$quick" ] || tools/slurm/cluster install || echo "without Slurm, tests/slurm is skipped" >&2
# The report's page is opened in Chromium: Debian's package, likewise.
[ -n "$quick" ] || tools/chromium.sh > /dev/null || echo "without Chromium, the report's page is not opened" >&2
python=$(tools/python.sh)
# Three workers with one thread each, on two cores: tests start processes of their own, and wait for Slurm.
export OMP_NUM_THREADS=1
exec "$python" -m pytest --numprocesses "${ESPNET3_TEST_WORKERS:-3}" \
    --dist loadgroup --no-loadscope-reorder "$@"
