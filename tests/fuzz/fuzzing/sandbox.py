"""A folder with everything that a case may see, which is as before after each case."""

import os
import shutil
import stat
from collections.abc import Iterable
from pathlib import Path

Entry = tuple[str, int, bytes]
"""Kind (`file`, `folder`, `link`), permissions, and content or target."""
PERSONAL = {"HOME": "home", "TMPDIR": "tmp", "XDG_CONFIG_HOME": "home/.config"}
"""Variable -> the folder in the sandbox that it names."""
FOREIGN = "foreign"
"""In the name of every file that no run of ours has made."""


class Sandbox:
    """A folder, and what it held when it was last kept."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self._kept: dict[str, Entry] = {}
        for name in PERSONAL.values():
            (self.folder / name).mkdir(parents=True, exist_ok=True)

    def add_foreign(self, *folders: str | Path) -> None:
        """Put files of others into `folders`, by name below the sandbox."""
        for folder in folders:
            directory = self.folder / folder
            (directory / "foreign-work").mkdir(parents=True, exist_ok=True)
            (directory / "foreign.txt").write_text(f"of {folder}\n")
            (directory / "foreign-work" / "foreign.ckpt").write_bytes(b"ten days of training")

    def keep(self) -> None:
        """What is there now is what `restore` brings back."""
        self._kept = self.now()

    def now(self) -> dict[str, Entry]:
        """Everything but temporary files, by path below the folder."""
        entries: dict[str, Entry] = {}
        temporary = os.fsencode(self.folder / "tmp")
        for parent, folders, files in os.walk(os.fsencode(self.folder)):
            for name in (*folders, *files):
                path = os.path.join(parent, name)
                if parent == temporary:
                    continue
                entries[os.fsdecode(os.path.relpath(path, os.fsencode(self.folder)))] = _entry(path)
        return entries

    def restore(self) -> None:
        """Make everything as it was kept."""
        now = self.now()
        for path in sorted(now.keys() - self._kept.keys(), reverse=True):
            _remove(self.folder / path)
        for path, entry in sorted(self._kept.items()):
            if now.get(path) != entry:
                _write(self.folder / path, entry)


def changes(before: dict[str, Entry], after: dict[str, Entry], *, foreign_only: bool) -> list[str]:
    """What a case has altered, as lines: everything, or only foreign files that were there before."""
    paths: Iterable[str] = sorted(before.keys() | after.keys())
    if foreign_only:
        paths = [path for path in paths if path in before and FOREIGN in path.rsplit("/", 1)[-1]]
    found = [path for path in paths if before.get(path) != after.get(path)]
    return [f"{path}: {_change(before.get(path), after.get(path))}" for path in found]


def _change(before: Entry | None, after: Entry | None) -> str:
    if before is None:
        return "is new"
    return "is gone" if after is None else "is another"


def _entry(path: bytes) -> Entry:
    status = os.lstat(path)
    mode = stat.S_IMODE(status.st_mode)
    if stat.S_ISLNK(status.st_mode):
        return "link", mode, os.readlink(path)
    if stat.S_ISDIR(status.st_mode):
        return "folder", mode, b""
    return "file", mode, Path(os.fsdecode(path)).read_bytes() if stat.S_ISREG(status.st_mode) else b""


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _write(path: Path, entry: Entry) -> None:
    kind, mode, content = entry
    there = "folder" if path.is_dir() and not path.is_symlink() else "file"
    if kind != "folder" or there != "folder":
        _remove(path)
    if kind == "link":
        path.symlink_to(os.fsdecode(content))
        return
    if kind == "folder":
        path.mkdir(exist_ok=True)
    else:
        path.write_bytes(content)
    path.chmod(mode)


def put(path: Path, content: bytes | None) -> None:
    """Replace what is at `path` by a file of this content; None: by a folder."""
    _remove(path)
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
