"""Where a run came from: command line, code revision, host, versions."""

import platform
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("espnet3", "torch", "lightning", "hydra-core", "submitit", "numpy")

MOST_FILES = 1000
"""So many untracked files are recorded at most."""


def provenance(command: list[str], directory: Path) -> dict[str, Any]:
    """The content of `run.json`.

    Args:
        command: the user's command line.
        directory: the recipe's, inside the git working tree whose revision is recorded, with changed files of
            the tree and untracked files of the recipe (not ignored ones).
    """
    untracked = _lines(git(directory, "ls-files", "--others", "--exclude-standard"))
    return {
        "command": command,
        "started_at": time.strftime("%Y-%m-%d %H:%M:%S%z"),
        "git_revision": git(directory, "rev-parse", "HEAD"),
        "git_changed_files": _lines(git(directory, "status", "--porcelain", "--untracked-files=no")),
        "git_untracked_files": untracked[:MOST_FILES],
        "host": platform.node(),
        "python": f"{sys.executable} {platform.python_version()}",
        "versions": installed_versions(),
    }


def _lines(text: str | None) -> list[str]:
    return text.splitlines() if text else []


def installed_versions() -> dict[str, str | None]:
    """Versions of espnet3 and its main dependencies, without importing them."""
    return {name: _version(name) for name in PACKAGES}


def git(directory: Path, *arguments: str) -> str | None:
    """The output of git, without the last line end; None outside a working tree or without git."""
    try:
        completed = subprocess.run(
            ["git", "-C", str(directory), *arguments],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return completed.stdout.rstrip("\n")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
