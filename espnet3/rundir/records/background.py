"""The background command of a run directory or sweep, as `logs/background.json` there."""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from espnet3.rundir import claim
from espnet3.rundir.files.json_file import from_plain, read_dataclass, write_dataclass
from espnet3.rundir.process import ProcessName


@dataclass(frozen=True)
class Background:
    """The background process that was started last."""

    process: Annotated[dict[str, Any], ProcessName]
    """See ProcessName."""
    command: list[str]
    """The arguments of `espnet3`."""
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
        """Whether it runs on this machine; for one elsewhere see the claim of the directory."""
        return self.process_name.is_here and self.process_name.is_alive()


def background_log(directory: Path) -> Path:
    """The log of background commands."""
    return directory / "logs" / "background.log"


def write_background(directory: Path, background: Background) -> None:
    """Replace the record."""
    write_dataclass(directory / "logs" / "background.json", background)


def read_background(directory: Path) -> Background | None:
    """The record; None if there was no background command."""
    return read_dataclass(Background, directory / "logs" / "background.json")


def process_at_work(directory: Path) -> ProcessName | None:
    """The process that holds a directory, alive or not, or the background process that is about to."""
    owner, background = claim.owner(directory), read_background(directory)
    if background is not None and background.is_alive and not (owner and owner.is_alive()):
        return background.process_name
    return owner
