"""The command in the background of a run directory or a sweep, as `logs/background.json` there."""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from espnet3.rundir import claim
from espnet3.rundir.files.json_file import from_plain, read_dataclass, write_dataclass
from espnet3.rundir.process import ProcessName


@dataclass(frozen=True)
class Background:
    """The process that was started last."""

    process: dict[str, Any]
    """See ProcessName."""
    command: list[str]
    """Words behind `espnet3`."""
    is_sweep: bool = False
    homes: dict[str, str] = field(default_factory=dict)
    """The stages of a run, each with the directory that it fills."""
    started_at: float = field(default_factory=time.time)
    """In seconds since the epoch."""

    @property
    def process_name(self) -> ProcessName:
        """The process."""
        return from_plain(ProcessName, self.process)

    @property
    def is_alive(self) -> bool:
        """Whether it runs on this machine; of one elsewhere only the claim of the directory tells."""
        return self.process_name.is_here and self.process_name.is_alive()


def background_log(directory: Path) -> Path:
    """What such commands print."""
    return directory / "logs" / "background.log"


def write_background(directory: Path, background: Background) -> None:
    """Replace the record."""
    write_dataclass(directory / "logs" / "background.json", background)


def read_background(directory: Path) -> Background | None:
    """The record; None if there never was such a command."""
    return read_dataclass(Background, directory / "logs" / "background.json")


def process_at_work(directory: Path) -> ProcessName | None:
    """The process that holds a directory, alive or not, or the one in the background that is about to."""
    owner, background = claim.owner(directory), read_background(directory)
    if background is not None and background.is_alive and not (owner and owner.is_alive()):
        return background.process_name
    return owner
