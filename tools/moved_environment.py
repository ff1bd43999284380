"""Mend the paths in a virtual environment that was moved: python moved_environment.py ENVIRONMENT."""

import re
import sys
import venv
from pathlib import Path

HEADER = re.compile(rb"#!(/bin/sh\n'''exec' \"?)?[^\n]*/bin/python[\d.]*\"?( [^\n]*)?\n( '''\n)?")
"""The first lines of a script that pip installs; with `exec` where the path is long or has a blank."""


def mend(environment: Path) -> None:
    """Write `activate` and its like again, and into each script of `bin` the path of its Python."""
    venv.create(environment, symlinks=True)
    header = f"#!/bin/sh\n'''exec' \"{environment}/bin/python\" \"$0\" \"$@\"\n' '''\n".encode()
    for script in (environment / "bin").iterdir():
        if script.is_symlink() or not script.is_file():
            continue
        content = script.read_bytes()
        if begin := HEADER.match(content):
            script.write_bytes(header + content[begin.end() :])


if __name__ == "__main__":
    mend(Path(sys.argv[1]).resolve())
