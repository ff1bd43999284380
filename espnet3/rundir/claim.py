"""Claims: one owner at a time holds a directory; made by one atomic rename, safe on NFS and Lustre.

`<directory>/claim/` holds one file per process that works there: the command (`owner.json`) and each
task of its job (`rank-0.json`). A claim whose processes are all gone is stale. Of several processes that
want it, the first to place its marker inside the stale claim takes it over.
"""

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from espnet3.rundir.files.json_file import read_dataclass, write_dataclass
from espnet3.rundir.files.reading import files_in
from espnet3.rundir.process import ProcessName

OWNER = "owner.json"
MARKER = "takeover"


class HeldError(Exception):
    """A living process holds the directory; the message names it.

    `orphaned`: only tasks of a command that is gone are left; they end by themselves soon.
    `uncertain`: the process is one of another host, which can't be checked from here.
    """

    def __init__(self, message: str, *, orphaned: bool = False, uncertain: bool = False) -> None:
        super().__init__(message)
        self.orphaned, self.uncertain = orphaned, uncertain


@contextmanager
def hold(directory: Path) -> Iterator[None]:
    """Claim `directory` (made if missing) for this process while the block runs.

    Raises:
        HeldError: when a living process holds it; the message names directory and process.
        OSError: when the directory can't be made or written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    claim = directory / "claim"
    _take(claim)
    try:
        yield
    finally:
        _remove(claim)


def check_free(directory: Path) -> None:
    """Check that no living process holds `directory`; writes nothing.

    Raises:
        HeldError: one does.
    """
    _raise_if_held(directory / "claim")


def join(directory: Path, name: str) -> None:
    """Add this process to the claim on `directory` as `name`; the claim is not stale while it lives."""
    claim = directory / "claim"
    if claim.is_dir():
        write_dataclass(claim / f"{name}.json", ProcessName.own())


def leave(directory: Path, name: str) -> None:
    """Remove this process, which is about to end, from the claim on `directory`."""
    (directory / "claim" / f"{name}.json").unlink(missing_ok=True)


def release_tasks(directory: Path, slurm_job: str) -> None:
    """Remove the tasks of a start of a Slurm job ("123.0"), which are known to have ended, from the claim."""
    for path in files_in(directory / "claim", "rank-*.json"):
        task = read_dataclass(ProcessName, path)
        if task is not None and task.slurm_job == slurm_job:
            path.unlink(missing_ok=True)


def owner(directory: Path) -> ProcessName | None:
    """The process that claimed `directory`, alive or not; None without a claim."""
    return read_dataclass(ProcessName, directory / "claim" / OWNER)


def processes(directory: Path) -> list[ProcessName]:
    """The processes in the claim on `directory`, alive or not; the owner is the first."""
    paths = [directory / "claim" / OWNER, *files_in(directory / "claim", "rank-*.json")]
    return [process for path in paths if (process := read_dataclass(ProcessName, path)) is not None]


def remove(directory: Path, process: ProcessName) -> None:
    """Remove the claim on `directory`, if `process` still is in it.

    Raises:
        OSError: it can't be removed.
    """
    if process in processes(directory):
        claim = directory / "claim"
        renamed = claim.with_name(f".claim-{uuid.uuid4().hex}")
        claim.rename(renamed)
        shutil.rmtree(renamed, ignore_errors=True)


def file_system_time(directory: Path) -> float:
    """The time that a file gets which is written to `directory` now: clocks of hosts may differ."""
    probe = directory / f".time-{uuid.uuid4().hex}"
    try:
        probe.touch()
        return probe.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)


def _take(claim: Path) -> None:
    staged = _staged(claim)
    try:
        while True:
            try:
                staged.rename(claim)  # fails if there is a claim that is not empty
                return
            except OSError:
                if not claim.is_dir():
                    raise
            _raise_if_held(claim)
            _remove_stale(claim)
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _staged(claim: Path) -> Path:
    """A complete claim of this process, beside `claim`, to be renamed into place."""
    staged = claim.with_name(f".claim-{uuid.uuid4().hex}")
    staged.mkdir()
    try:
        write_dataclass(staged / OWNER, ProcessName.own())
    except OSError:
        shutil.rmtree(staged, ignore_errors=True)
        raise
    return staged


def _raise_if_held(claim: Path) -> None:
    first = read_dataclass(ProcessName, claim / OWNER)
    if first is not None and first.is_alive():
        raise HeldError(f"{claim.parent} is in use by {first}", uncertain=not first.can_be_checked)
    for path in files_in(claim, "rank-*.json"):
        task = read_dataclass(ProcessName, path)
        if task is not None and task.is_alive():
            uncertain = not task.can_be_checked
            message = f"{claim.parent} is in use by {path.stem}, {task}"
            raise HeldError(message, orphaned=not uncertain, uncertain=uncertain)


def _remove_stale(claim: Path) -> None:
    """Remove a stale claim, if the marker of this process is the one inside it.

    Once the marker is in, no other process moves this claim, so its staleness is checked again only then.
    The marker may have landed in a new claim that replaced the stale one; that one is held.
    """
    marker = _staged(claim)
    try:
        marker.rename(claim / MARKER)
    except OSError:
        shutil.rmtree(marker, ignore_errors=True)
        marker_owner = read_dataclass(ProcessName, claim / MARKER / OWNER)
        if marker_owner is not None and not marker_owner.is_alive():
            shutil.rmtree(claim / MARKER, ignore_errors=True)
        return
    try:
        _raise_if_held(claim)
    except HeldError:
        shutil.rmtree(claim / MARKER, ignore_errors=True)
        raise
    _remove(claim)


def _remove(claim: Path) -> None:
    """Rename `claim` away atomically, then delete it."""
    renamed = claim.with_name(f".claim-{uuid.uuid4().hex}")
    try:
        claim.rename(renamed)
    except OSError:
        return
    shutil.rmtree(renamed, ignore_errors=True)
