"""The folder of a run's checkpoints: their names, which is the newest, and which may be removed."""

import os
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from espnet3.components.checkpoint.ranking import LAST
from espnet3.rundir.files.atomic import replace_file, temporary_beside
from espnet3.rundir.files.reading import cannot_read, files_in

REJECTED = ".rejected"
"""Suffix of a checkpoint that training could not continue from."""
_NAME = re.compile(r"epoch=(\d+)(?:-batch=(\d+))?-step=\d+(?:\.ckpt|\.rank-\d+\.part)")


@dataclass(frozen=True, order=True)
class Position:
    """How far a training is: epochs done, and batches of the next one, on each rank."""

    epoch: int
    batch: int = 0


def checkpoint_name(position: Position, step: int) -> str:
    """`epoch=3-step=120.ckpt`: 3 epochs, 120 updates; `epoch=3-batch=7-step=127.ckpt` inside the fourth."""
    inside = f"-batch={position.batch}" if position.batch else ""
    return f"epoch={position.epoch}{inside}-step={step}.ckpt"


def part_name(checkpoint: str, rank: int) -> str:
    """The file beside `checkpoint` that holds the gradients of a rank."""
    return f"{checkpoint.removesuffix('.ckpt')}.rank-{rank}.part"


def position_of(name: str) -> Position | None:
    """The position in the name of a checkpoint or of a part of one; None for any other name."""
    match = _NAME.fullmatch(name)
    return Position(int(match[1]), int(match[2] or 0)) if match else None


def newest_first(directory: Path) -> list[Path]:
    """The checkpoints in `directory`, each file once; last.ckpt only where it is no hard link to another.

    It is none where a person copied it, or the file system has no hard links: the modification time decides.

    Raises:
        UserError: the folder, or a file in it, can't be read.
    """
    named = {path: position_of(path.name) for path in files_in(directory, "*.ckpt")}
    known = {path: position for path, position in named.items() if position is not None}
    paths = sorted(known, key=lambda path: known[path], reverse=True)
    last = directory / LAST
    states = {path: state for path in paths if (state := _state(path)) is not None}
    state = _state(last)
    if state is not None and not any(os.path.samestat(state, other) for other in states.values()):
        is_newer = not paths or paths[0] not in states or state.st_mtime_ns >= states[paths[0]].st_mtime_ns
        paths.insert(0 if is_newer else 1, last)
    return paths


def _state(path: Path) -> os.stat_result | None:
    """What the file system says of `path`; None if it is gone."""
    try:
        return path.stat()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise cannot_read(error, path) from error


def superfluous(names: Iterable[str], *, keep_last: int, best: Iterable[str]) -> list[str]:
    """The file names in the folder that may be removed: neither among the newest nor among the best.

    A part is removed with its checkpoint.
    """
    names = list(names)
    checkpoints = [name for name in names if name.endswith(".ckpt") and position_of(name)]
    newest = sorted(checkpoints, key=lambda name: position_of(name) or Position(0), reverse=True)
    kept = {*newest[:keep_last], *best}
    stems = {name.removesuffix(".ckpt") for name in kept}
    removable = [name for name in checkpoints if name not in kept]
    parts = [name for name in names if name.endswith(".part") and position_of(name)]
    return removable + [name for name in parts if name.rsplit(".rank-", 1)[0] not in stems]


def link_last(checkpoint: Path) -> None:
    """Make last.ckpt beside `checkpoint` the same file, or a copy where there are no hard links.

    The link is not flushed: the file is on the disk, and the next start restores a link that was lost.
    """
    last = checkpoint.with_name(LAST)
    if last == checkpoint or (last.exists() and last.samefile(checkpoint)):
        return
    linked = temporary_beside(last)
    try:
        os.link(checkpoint, linked)
    except OSError:
        with replace_file(last) as copied:
            shutil.copyfile(checkpoint, copied)
    else:
        linked.replace(last)


def set_aside(checkpoint: Path) -> None:
    """Rename a checkpoint that training cannot continue from; a person may want to look at it."""
    checkpoint.replace(checkpoint.with_name(checkpoint.name + REJECTED))
