#!/usr/bin/env bash
# Check the code without running it: style and format (ruff), types (mypy), the report's JavaScript (oxlint).
#
#   tools/lint.sh [--fix]
#
#   --fix  mend what ruff can mend, and format, before the checks
#
# The one list of these checks: .ci/run, pre-commit and the workflow call it. Versions are those of
# tools/constraints.txt, in the environment that tools/install.sh --dev fills.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
fix=
case ${1:-} in
    -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"; exit 0 ;;
    --fix) fix=yes ;;
    ?*) echo "tools/lint.sh: $1: unknown option (known: --fix)" >&2; exit 2 ;;
esac
tools/install.sh --dev
bin=$(dirname "$(tools/python.sh)")

if [ -n "$fix" ]; then
    "$bin/ruff" check --fix --exit-zero --quiet .
    "$bin/ruff" format --quiet .
fi
"$bin/ruff" check .
"$bin/ruff" format --check .
"$bin/mypy"
# The page runs all of its scripts as one: which names exist, and which are used, can be told only of them together.
"$bin/oxlint" espnet3
together=$(mktemp --suffix=.js)
trap 'rm -f "$together"' EXIT
find espnet3 -name '*.js' -exec cat {} + > "$together"
"$bin/oxlint" --config .oxlintrc.json --allow all \
    --deny no-undef --deny no-unused-vars --deny no-redeclare "$together"
