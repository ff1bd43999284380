"""Release directories whose owner died on another machine, where it can't be checked whether it lives."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from math import ceil
from pathlib import Path

from espnet3.errors import UserError, cannot_write, directory_problem, short_path
from espnet3.number_text import counted
from espnet3.rundir import claim
from espnet3.rundir.files.reading import files_in
from espnet3.rundir.layout import jobs_dir
from espnet3.rundir.process import ProcessName

ALIVE_WITHIN_S = 120.0
"""A heartbeat younger than this is a living task's, which writes one every few seconds."""


@dataclass(frozen=True)
class Holder:
    """A claim whose owner can't be checked from here."""

    directory: Path
    process: ProcessName
    age_s: float
    """Seconds since the claim was made, by the file system's clock."""
    silent_s: float | None
    """Seconds since the newest heartbeat below the directory; None without one."""

    def __str__(self) -> str:
        silent = "there is no heartbeat" if self.silent_s is None else f"last heartbeat {_ago(self.silent_s)}"
        return f"{short_path(self.directory)} is held by {self.process} since {_ago(self.age_s)}; {silent}"


def held_elsewhere(directory: Path) -> list[Holder]:
    """The claims below `directory`, of a run or a sweep, whose owners can't be checked from here.

    Raises:
        UserError: an owner is known to be alive, or has just written a heartbeat.
    """
    places = [directory, jobs_dir(directory), directory / "search"]
    places += chain.from_iterable(
        (folder, jobs_dir(folder)) for name in ("trials", "shared") for folder in files_in(directory / name)
    )
    found = []
    for place in places:
        unknown = []
        for process in claim.processes(place):
            if not process.can_be_checked:
                unknown.append(process)
            elif process.is_alive():
                raise UserError(
                    f"{short_path(place)} is in use by {process}, which is alive: `espnet3 cancel` ends it"
                )
        if unknown:
            found.append(_holder(place, unknown[0]))
    for holder in found:
        if holder.silent_s is not None and holder.silent_s < ALIVE_WITHIN_S:
            left = counted(ceil(ALIVE_WITHIN_S - holder.silent_s), "second")
            raise UserError(
                f"{holder}, so it may be alive: end it on {holder.process.host}; if that is gone, give"
                f" the command again in {left}"
            )
    return found


def release(directories: Sequence[Path], say: Callable[[str], None], confirm: Callable[[str], bool]) -> bool:
    """Remove claims that can't be checked from here, where `confirm` agrees; returns whether all are gone.

    Raises:
        UserError: an owner is alive, or a claim can't be removed.
    """
    for directory in directories:
        if directory_problem(directory):
            raise UserError(f"{directory}: {directory_problem(directory)}")
    found = [(directory, held_elsewhere(directory.resolve())) for directory in directories]
    all_gone = True
    for directory, holders in found:
        if not holders:
            say(f"{short_path(directory)} is not held by a process of another machine: nothing to release")
        for holder in holders:
            if not confirm(str(holder)):
                all_gone = False
                continue
            try:
                claim.remove(holder.directory, holder.process)
            except OSError as error:
                raise cannot_write(error, holder.directory) from error
            say(f"released {short_path(holder.directory)}")
    return all_gone


def _holder(directory: Path, process: ProcessName) -> Holder:
    now = claim.file_system_time(directory)
    beats = [
        *directory.glob("attempts/*/heartbeat-*.json"),
        *directory.glob("trials/*/attempts/*/heartbeat-*.json"),
    ]
    newest = max((_changed_at(path) for path in beats), default=None)
    age = max(0.0, now - _changed_at(directory / "claim"))
    return Holder(directory, process, age, None if newest is None else max(0.0, now - newest))


def _changed_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # replaced just now
        return time.time()


def _ago(seconds: float) -> str:
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= 2 * length:
            return f"{counted(int(seconds // length), unit)} ago"
    return f"{counted(int(seconds), 'second')} ago"
