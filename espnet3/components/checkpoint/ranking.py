"""The ranking of the best checkpoints of a run directory, in a small file beside them."""

import math
from dataclasses import dataclass, field, replace
from pathlib import Path

from espnet3.errors import UserError
from espnet3.rundir.files.json_file import from_plain, read_plain, write_dataclass

LAST = "last.ckpt"
RANKING = "best.json"


@dataclass(frozen=True)
class Ranked:
    """One of the best checkpoints."""

    file: str
    """Its name in the folder of checkpoints."""
    value: float
    """Of the monitored metric."""
    epoch: int
    """How many epochs were done."""
    batch: int = 0
    """How many batches of the next epoch were done: a validation inside an epoch."""
    metrics: dict[str, float] = field(default_factory=dict)
    """What the validation before it measured, by name as `valid/loss`."""


@dataclass(frozen=True)
class Ranking:
    """The best checkpoints, best first, and what they are compared by."""

    monitor: str
    mode: str
    """`min` or `max`: which value is the best."""
    best: tuple[Ranked, ...] = ()

    def with_candidate(self, candidate: Ranked, keep: int) -> "Ranking":
        """The ranking with `candidate`, of at most `keep` entries; of equal values the earlier is better.

        A candidate replaces an entry of the same file: an epoch that was run again. One whose value is NaN
        or Inf is not ranked.
        """
        entries = [entry for entry in self.best if entry.file != candidate.file]
        entries += [candidate] if math.isfinite(candidate.value) else []
        sign = 1 if self.mode == "min" else -1
        entries.sort(key=lambda entry: (sign * entry.value, entry.epoch, entry.batch))
        return Ranking(self.monitor, self.mode, tuple(entries[:keep]))

    def without(self, later_than: tuple[int, int]) -> "Ranking":
        """Without entries later than (epochs, batches): a run that continues from there ranks them again."""
        kept = (entry for entry in self.best if (entry.epoch, entry.batch) <= later_than)
        return Ranking(self.monitor, self.mode, tuple(kept))

    def files(self) -> set[str]:
        """Names of the ranked files."""
        return {entry.file for entry in self.best}


def read_ranking(directory: Path) -> Ranking | None:
    """The ranking in `directory`; None when no epoch was ranked yet, or the file is damaged."""
    try:
        content = read_plain(directory / RANKING)
        best = tuple(from_plain(Ranked, entry) for entry in content.pop("best"))
        return replace(from_plain(Ranking, content), best=best)
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return None


def write_ranking(directory: Path, ranking: Ranking) -> None:
    """Replace the ranking in `directory`, atomically."""
    write_dataclass(directory / RANKING, ranking)


def best_checkpoint(directory: Path) -> Path:
    """The best checkpoint in the folder of checkpoints `directory`.

    Raises:
        UserError: there is none; the message says what there is.
    """
    ranking = read_ranking(directory)
    for entry in ranking.best if ranking else ():
        if (directory / entry.file).is_file():
            return directory / entry.file
    existing = ", ".join(sorted(path.name for path in directory.glob("*.ckpt"))) or "no checkpoint"
    raise UserError(
        f"{directory}: no best checkpoint (there is {existing}); train first, with validation data"
    )


def last_checkpoint(directory: Path) -> Path | None:
    """The newest checkpoint in `directory`, from which training continues; None when there is none."""
    path = directory / LAST
    return path if path.is_file() else None
