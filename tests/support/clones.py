"""Copies of this working tree; not a test."""

import shutil
import subprocess
from pathlib import Path


def copy_of_tree(tree: Path, directory: Path) -> Path:
    """Copy into `directory` what a clone would hold of a working tree; returns `directory`."""
    names = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=tree, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    for name in names:
        if (tree / name).is_file():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(tree / name, directory / name)
    return directory
