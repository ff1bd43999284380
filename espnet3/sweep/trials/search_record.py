"""What is kept of a search in `search/` of the sweep: the command that goes on with it, and how far it is."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from espnet3.errors import short_path
from espnet3.rundir.json_file import from_plain, read_dataclass, write_dataclass

SEARCH = "search.json"


@dataclass(frozen=True)
class SearchRequest:
    """What a command asks for: enough to search from any shell, or from a job."""

    recipe: str
    """Its folder."""
    overrides: list[str]
    stages: list[str]
    """What each trial runs."""
    command: str
    """As it was typed."""
    single_trial_command: list[str]
    """Words of the command that makes a trial alone, before its overrides."""


@dataclass(frozen=True)
class SearchRecord:
    """The whole of `search.json`."""

    wanted: SearchRequest
    n_trials: int
    trials: list[str] = field(default_factory=list)
    """Names of those that were begun, in their order."""

    def __str__(self) -> str:
        return f"search: {len(self.trials)} of {self.n_trials} trials"


def search_dir(sweep: Path) -> Path:
    """What is kept of the search of a sweep; whoever searches holds it."""
    return sweep / "search"


def is_search(sweep: Path) -> bool:
    """Whether the trials of a sweep are those of a search."""
    return (search_dir(sweep) / SEARCH).is_file()


def read_search(sweep: Path) -> SearchRecord | None:
    """The record of the search in a sweep; None where there is none."""
    record = read_dataclass(SearchRecord, search_dir(sweep) / SEARCH)
    return replace(record, wanted=from_plain(SearchRequest, record.wanted)) if record else None  # type: ignore[arg-type]


def write_search(sweep: Path, record: SearchRecord) -> None:
    """Replace it."""
    write_dataclass(search_dir(sweep) / SEARCH, record)


def how_to_go_on(sweep: Path) -> str:
    """How a search that has ended too early is continued."""
    return f"the same command, or `espnet3 resume {short_path(sweep)}`, goes on with the search"
