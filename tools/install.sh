#!/usr/bin/env bash
# Install espnet3 with every pinned dependency; without root. Needs Python >= 3.11, pip and git.
#
#   tools/install.sh [--dev] [--torch cpu|cu126|...] [--lowest]
#
#   --dev          also what the checks and the tests need
#   --torch BUILD  take PyTorch's own build for this platform (cpu, cu126, ...) instead of the registry's
#   --lowest       into .venv-lowest, with the lowest versions that pyproject.toml allows: for tools/test.sh --lowest
#
# Installs into the active virtual or conda environment, or into .venv, which it makes. A torch that is installed
# there is kept. Does nothing when the same was installed before.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

extras=recipes,search torch= lowest=
while [ $# -gt 0 ]; do
    case $1 in
        --dev) extras=dev ;;
        --lowest) lowest=yes ;;
        --torch) [ $# -gt 1 ] || { echo "tools/install.sh: --torch needs a build: cpu or cu..." >&2; exit 2; }
            torch=$2; shift ;;
        --torch=*) torch=${1#*=} ;;
        -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"; exit 0 ;;
        *) echo "tools/install.sh: $1: unknown option (known: --dev, --torch BUILD, --lowest)" >&2; exit 2 ;;
    esac
    shift
done
case $torch in "" | cpu | cu[0-9]*) ;; *)
    echo "tools/install.sh: --torch $torch: takes cpu or cu followed by a CUDA version (cu126)" >&2; exit 2 ;;
esac

# One at a time: a second first call waits here and then finds everything done.
exec 9> .install.lock
if command -v flock > /dev/null && ! flock --nonblock 9; then
    echo "waiting for another tools/install.sh in this clone"
    flock 9
fi

if [ -n "$lowest" ]; then
    environment=$PWD/.venv-lowest
elif [ -n "${VIRTUAL_ENV:-}" ]; then
    environment=$VIRTUAL_ENV
elif [ -n "${CONDA_PREFIX:-}" ] && [ "${CONDA_DEFAULT_ENV:-base}" != base ]; then
    environment=$CONDA_PREFIX
else
    environment=$PWD/.venv
fi
if [ "${environment%/*}" = "$PWD" ] && [ ! -x "$environment/bin/python" ]; then
    for python in python3 python3.13 python3.12 python3.11 none; do
        if [ $python = none ]; then
            echo "tools/install.sh: no Python >= 3.11 on PATH; install one and try again" >&2; exit 2
        fi
        if $python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null; then break; fi
    done
    echo "making the virtual environment ${environment##*/} with $($python --version)"
    if ! $python -m venv "$environment"; then
        rm -rf "$environment"
        echo "tools/install.sh: $python can't make a virtual environment (on Debian: install python3-venv)" >&2
        exit 2
    fi
fi
python=$environment/bin/python

# The stamp says what is installed; it is written last, so an interrupted installation is done again.
stamp=$environment/.espnet3-installed
wanted=$(cat pyproject.toml tools/constraints.txt | cksum)
if [ -z "$torch" ] && [ -f "$stamp" ] && grep -qxF "$wanted $extras $PWD" "$stamp"; then exit 0; fi
if [ $extras != dev ] && [ -z "$torch" ] && [ -f "$stamp" ] && grep -qxF "$wanted dev $PWD" "$stamp"; then exit 0; fi

# A virtual environment holds its own path, in `activate` and in every script.
if [ "${environment%/*}" = "$PWD" ] && [ -f "$stamp" ] && ! grep -qF " $PWD" "$stamp"; then
    echo "this clone was moved: mending the paths in ${environment##*/}"
    "$python" tools/moved_environment.py "$environment"
fi

# On a terminal as pip does, with its progress bars; elsewhere a line for each download and step.
pip_install() {
    if [ -t 1 ]; then
        "$python" -m pip install "$@"
    else
        "$python" -m pip install --progress-bar off "$@" |
            sed --unbuffered -nE 's/^ *((Downloading|Building|Installing) .{0,60}[^ ,]*).*/  \1/p'
    fi
}

export PIP_DISABLE_PIP_VERSION_CHECK=1
# These, of the user's shell or pip.conf, would install elsewhere than into the environment, or fail.
export PIP_USER=0
unset PIP_TARGET PIP_PREFIX PIP_ROOT
constraints=$environment/.espnet3-constraints.txt
installed=$("$python" -c 'import importlib.metadata as m; print(m.version("torch"))' 2> /dev/null || true)
if [ -n "$torch" ]; then
    version=$(sed -n 's/^torch==//p' tools/constraints.txt)
    echo "installing torch $version ($torch)"
    pip_install --index-url "https://download.pytorch.org/whl/$torch" "torch==$version"
    installed=$version
fi
if [ -n "$lowest" ]; then
    "$python" tools/lowest_versions.py > "$constraints"
elif [ -n "$installed" ]; then
    sed "s/^torch==.*/torch==$installed/" tools/constraints.txt > "$constraints"
    echo "keeping torch $installed"
else
    cp tools/constraints.txt "$constraints"
fi
echo "installing espnet3[$extras] and its pinned dependencies into $environment (two minutes or more)"
# pip splits this variable at blanks; an address has none. Unlike --constraint it reaches the build of a package.
PIP_CONSTRAINT=$("$python" -c 'import pathlib, sys; print(pathlib.Path(sys.argv[1]).as_uri())' "$constraints")
export PIP_CONSTRAINT
pip_install --editable ".[$extras]"
echo "$wanted $extras $PWD" > "$stamp"
echo "installed"
