"""The metrics of stage 3, `validate/metrics.json` in a run directory: the same shape for every split."""

from dataclasses import dataclass, replace
from pathlib import Path

from espnet3.rundir.files.json_file import read_dataclass, write_dataclass


@dataclass(frozen=True)
class Scores:
    """The contents of `metrics.json`."""

    checkpoint: str
    """What was scored; relative to the run directory if inside it."""
    scorer: str
    """A hash of the checkpoint and of the configuration and code that scored it, the data left out."""
    metrics: dict[str, dict[str, float]]
    """Name of the split or test set -> metric -> value."""

    def flat(self) -> dict[str, float]:
        """The metrics by names such as "test_clean/wer"."""
        return {
            f"{split}/{name}": value for split, own in self.metrics.items() for name, value in own.items()
        }


def scores_path(exp_dir: Path) -> Path:
    """The file in the run directory `exp_dir`."""
    return exp_dir / "validate" / "metrics.json"


def read_scores(exp_dir: Path) -> Scores | None:
    """The metrics in `exp_dir`; None if they are missing or unreadable."""
    return read_dataclass(Scores, scores_path(exp_dir))


def write_scores(exp_dir: Path, scores: Scores) -> None:
    """Replace the metrics in `exp_dir`."""
    write_dataclass(scores_path(exp_dir), scores)


def with_earlier(scores: Scores, earlier: Scores | None) -> Scores:
    """`scores` with those of other splits and test sets that the same scorer has given earlier."""
    if earlier is None or earlier.scorer != scores.scorer:
        return scores
    return replace(scores, metrics={**earlier.metrics, **scores.metrics})
