#!/usr/bin/env python3
"""Print constraints for pip: every requirement of pyproject.toml at the lowest version that it allows.

But torch is that of constraints.txt: another build is gigabytes.
"""

import re
import tomllib
from pathlib import Path

TOOLS = Path(__file__).resolve().parent
PYPROJECT = TOOLS.parent / "pyproject.toml"


def lowest_versions(project: dict) -> list[str]:
    """Of the requirements of `project`, its extras included, as `name==version`."""
    extras = project.get("optional-dependencies", {}).values()
    requirements = [*project["dependencies"], *(one for extra in extras for one in extra)]
    lowest = [re.match(r"([\w.-]+)>=([\w.]+)", requirement) for requirement in requirements]
    return [f"{found[1]}=={found[2]}" for found in lowest if found and found[1] != "torch"]


def pinned(name: str) -> str:
    """The line of constraints.txt for `name`."""
    lines = (TOOLS / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return next(line for line in lines if line.startswith(f"{name}=="))


if __name__ == "__main__":
    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    print(*lowest_versions(project), pinned("torch"), sep="\n")
