"""Names inside a run directory, and which directory a stage fills."""

from pathlib import Path
from typing import Any


def stage_home(config: Any, stage: str) -> Path:
    """The directory whose content `stage` makes, and which it must hold alone while it runs.

    Data and statistics are shared by run directories; what training and validation make is the run
    directory's own.
    """
    key = {"prepare": "data_dir", "collect_stats": "stats_dir"}.get(stage, "exp_dir")
    return Path(config[key]).resolve()


def new_attempt(exp_dir: Path, stage: str) -> int:
    """The number of the next attempt of `stage`: one more than the highest that left logs or a job."""
    names = [path.name.removeprefix("attempt-") for path in (exp_dir / "logs" / stage).glob("attempt-*")]
    names += [path.name.removeprefix(f"{stage}-") for path in (exp_dir / "jobs").glob(f"{stage}-*")]
    return max((int(name) for name in names if name.isdigit()), default=0) + 1


def log_path(exp_dir: Path, stage: str, attempt: int, rank: int) -> Path:
    """Where one task's output goes."""
    return exp_dir / "logs" / stage / f"attempt-{attempt}" / f"rank-{rank}.log"


def job_dir(exp_dir: Path, stage: str, attempt: int) -> Path:
    """Where one attempt's job description, task states and heartbeats are."""
    return exp_dir / "jobs" / f"{stage}-{attempt}"


def heartbeat_path(job: Path, rank: int) -> Path:
    """Where the progress of one task is."""
    return job / f"heartbeat-{rank}.json"
