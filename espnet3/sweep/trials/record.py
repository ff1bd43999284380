"""The record of a whole sweep, `sweep.json`: its commands and its trials."""

import hashlib
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from espnet3.config.secrets import hide_secrets
from espnet3.errors import UserError, short_path
from espnet3.rundir.files.atomic import write_text
from espnet3.rundir.files.json_file import from_plain, read_dataclass, write_dataclass
from espnet3.rundir.provenance import git
from espnet3.stage_table import are_stages
from espnet3.sweep.trials.folder import SWEEP, diff_file


@dataclass(frozen=True)
class Code:
    """The state of the working tree at a command."""

    revision: str = ""
    """The git revision; empty outside of a working tree."""
    diff: str = ""
    """Names the uncommitted changes, `code/<diff>.diff`; empty where there are none."""


@dataclass(frozen=True)
class SweepCommand:
    """A command that created or extended the sweep."""

    command: str
    keys: list[str]
    """The keys that it swept."""
    stages: list[str]
    code: Annotated[dict[str, Any], Code]
    """See Code."""
    at: float = field(default_factory=time.time)


@dataclass(frozen=True)
class ListedTrial:
    """A trial's entry in `sweep.json`."""

    digest: str
    values: dict[str, Any]
    stages: list[str]
    older: bool = False
    """A later command asked for the same values with another configuration or other code."""


@dataclass(frozen=True)
class SweepRecord:
    """The contents of `sweep.json`."""

    recipe: str
    """The recipe's folder."""
    keys: list[str]
    """Every key that was swept, in the order given."""
    objective: str
    direction: str
    commands: list[Annotated[dict[str, Any], SweepCommand]]
    """See SweepCommand; oldest first."""
    trials: dict[str, Annotated[dict[str, Any], ListedTrial]]
    """Name -> ListedTrial, in the order they were asked for."""

    @property
    def listed(self) -> dict[str, ListedTrial]:
        """The trials by name."""
        return {name: from_plain(ListedTrial, fields) for name, fields in self.trials.items()}

    @property
    def command_history(self) -> list[SweepCommand]:
        """The commands, oldest first."""
        return [from_plain(SweepCommand, fields) for fields in self.commands]


def read_sweep_record(sweep: Path) -> SweepRecord | None:
    """The record in a sweep directory; None where there is no sweep yet.

    Raises:
        UserError: `sweep.json` can't be read.
    """
    if not (sweep / SWEEP).exists():
        return None
    record = read_dataclass(SweepRecord, sweep / SWEEP)
    if record is None or not all(are_stages(trial.stages) for trial in record.listed.values()):
        raise UserError(f"{short_path(sweep / SWEEP)} can't be read as the record of a sweep")
    return record


def write_sweep_record(sweep: Path, record: SweepRecord) -> None:
    """Write the record, replacing an older one."""
    write_dataclass(sweep / SWEEP, record)


def read_code(recipe: Path) -> tuple[Code, str]:
    """The state of a recipe's working tree, and its uncommitted changes without secrets."""
    revision = git(recipe, "rev-parse", "HEAD") or ""
    diff = hide_secrets(git(recipe, "diff", "HEAD") or "", os.environ) if revision else ""
    return Code(revision, hashlib.sha256(diff.encode()).hexdigest()[:12] if diff else ""), diff


def write_diff(sweep: Path, command: SweepCommand, diff: str) -> None:
    """Write the uncommitted changes of the working tree into the sweep directory."""
    if diff:
        file = diff_file(sweep, command.code["diff"])
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, diff + "\n")
