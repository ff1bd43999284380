#!/usr/bin/env python3
"""Print constraints for pip: every requirement of pyproject.toml at the lowest version that it allows."""

import re
import tomllib
from pathlib import Path

PYPROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"


def lowest_versions(project: dict) -> list[str]:
    """Of the requirements of `project`, its extras included, as `name==version`."""
    extras = project.get("optional-dependencies", {}).values()
    requirements = [*project["dependencies"], *(one for extra in extras for one in extra)]
    lowest = [re.match(r"([\w.-]+)>=([\w.]+)", requirement) for requirement in requirements]
    return [f"{found[1]}=={found[2]}" for found in lowest if found]


if __name__ == "__main__":
    print(*lowest_versions(tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]), sep="\n")
