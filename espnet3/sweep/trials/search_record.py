"""The record of a search, `search/search.json` in the sweep: its command and its progress."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from espnet3.errors import command_path
from espnet3.rundir.files.json_file import from_plain, read_dataclass, write_dataclass

SEARCH = "search.json"


@dataclass(frozen=True)
class SearchRequest:
    """The search that a command asks for: enough to run it from any shell, or from a job."""

    recipe: str
    """The recipe's folder."""
    overrides: list[str]
    stages: list[str]
    """The stages of each trial."""
    command: str
    """The command line of the search."""
    single_trial_command: list[str]
    """Words of the command that runs one trial outside of the sweep, before its overrides."""


@dataclass(frozen=True)
class SearchRecord:
    """The contents of `search.json`."""

    request: SearchRequest
    n_trials: int
    trials: list[str] = field(default_factory=list)
    """Names of the trials begun so far, in order."""

    def __str__(self) -> str:
        return f"search: {len(self.trials)} of {self.n_trials} trials"


def search_dir(sweep: Path) -> Path:
    """The folder of a sweep's search; the searching process holds its claim."""
    return sweep / "search"


def is_search(sweep: Path) -> bool:
    """Whether a sweep is a search."""
    return (search_dir(sweep) / SEARCH).is_file()


def read_search(sweep: Path) -> SearchRecord | None:
    """The record of a sweep's search; None if it is not a search."""
    record = read_dataclass(SearchRecord, search_dir(sweep) / SEARCH)
    return replace(record, request=from_plain(SearchRequest, record.request)) if record else None  # type: ignore[arg-type]


def write_search(sweep: Path, record: SearchRecord) -> None:
    """Write the record, replacing an older one."""
    write_dataclass(search_dir(sweep) / SEARCH, record)


def how_to_continue(sweep: Path) -> str:
    """A message: how to continue a search that ended early."""
    return f"the same command, or `espnet3 resume {command_path(sweep)}`, continues the search"
