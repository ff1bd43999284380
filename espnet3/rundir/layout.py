"""Paths inside a run directory, and the directory of each stage."""

import re
from pathlib import Path
from typing import Any

from espnet3.rundir.files.json_file import read_plain
from espnet3.rundir.files.reading import exists, files_in
from espnet3.stage_table import STAGES, own_stages

BOOKKEEPING = ("attempts", "claim", "jobs", "logs")
"""Entries of a run directory that tell what ran there."""
HANG_REPORT = "hang.txt"
CHECKPOINTS = "checkpoints"
TRAINING_FILES = (CHECKPOINTS, "config.yaml", "csv", "run.json", "stages", "tensorboard", "validate")
"""Those that a training and its validation have made."""
_IN_CHECKPOINTS = re.compile(
    r"(last\.ckpt|best\.json|epoch=\d+(-batch=\d+)?-step=\d+(\.ckpt|\.rank-\d+\.part))(\.rejected)?"
)
_TRIAL_FILE = "trial.json"
_DATA_REPORT = "data_check.txt"


def is_of_training(name: str) -> bool:
    """Whether a training makes a file of this name among its checkpoints; a person may put others there."""
    return _IN_CHECKPOINTS.fullmatch(name) is not None


def stage_home(config: Any, stage: str) -> Path:
    """The directory that `stage` fills, and which it must hold alone while it runs.

    Run directories share data and statistics; training and validation fill the run directory itself.
    """
    return Path(config[STAGES[stage].directory]).resolve()


def file_lists(config: Any) -> Path:
    """The folder of the lists of files that stages have read, which trainings with the same data share."""
    return Path(config.stats_dir) / "files"


def statistics_files(config: Any) -> list[Path]:
    """What stage 1 made that a training may read: statistics and shapes of the splits."""
    folder = stage_home(config, "collect_stats")
    return sorted([*folder.glob("*/*_stats.npz"), *folder.glob("*/*_shape")])


def new_attempt(exp_dir: Path, stage: str) -> int:
    """The number of the next attempt of `stage`: one more than the highest with logs or a folder."""
    names = [path.name.removeprefix("attempt-") for path in files_in(exp_dir / "logs" / stage, "attempt-*")]
    names += [path.name.removeprefix(f"{stage}-") for path in files_in(exp_dir / "attempts", f"{stage}-*")]
    return max((int(name) for name in names if name.isdigit()), default=0) + 1


def log_path(exp_dir: Path, stage: str, attempt: int, rank: int) -> Path:
    """The log of one task."""
    return exp_dir / "logs" / stage / f"attempt-{attempt}" / f"rank-{rank}.log"


def hang_report(exp_dir: Path, stage: str, attempt: int) -> Path:
    """All that is known of the hang for which an attempt was ended."""
    return log_path(exp_dir, stage, attempt, 0).with_name(HANG_REPORT)


def job_log(exp_dir: Path, stage: str, job_id: str) -> Path:
    """The log of the batch process of a Slurm job; `stage` is the first that the job runs."""
    return exp_dir / "logs" / stage / f"job-{job_id}.log"


def attempt_dir(exp_dir: Path, stage: str, attempt: int) -> Path:
    """The directory with one attempt's description, task states and heartbeats."""
    return exp_dir / "attempts" / f"{stage}-{attempt}"


def jobs_dir(exp_dir: Path) -> Path:
    """The directory with one folder per submitted job, by job name."""
    return exp_dir / "jobs"


def data_report(exp_dir: Path) -> Path:
    """All that the check of the data found to be wrong."""
    return exp_dir / _DATA_REPORT


def heartbeat_path(attempt: Path, rank: int) -> Path:
    """The heartbeat file of one task."""
    return attempt / f"heartbeat-{rank}.json"


def is_run_dir(path: Path) -> bool:
    """Whether something was run or submitted in the directory `path`, or runs there now.

    Raises:
        UserError: the directory can't be read.
    """
    records = (path / "stages" / f"{stage}.json" for stage in own_stages())
    ran = [*files_in(path / "attempts", "*-*"), *files_in(path / "jobs", "*-*")]
    return (
        any(_is_numbered_stage(folder.name) for folder in ran)
        or exists(path / "claim" / "owner.json")
        or any(exists(record) for record in records)
    )


def foreign_entries(path: Path) -> list[str]:
    """Names in the directory `path` that no run has made, if it is not a run directory; without dot-files.

    Raises:
        UserError: the directory can't be read.
    """
    if is_run_dir(path):
        return []
    ours = [*BOOKKEEPING, _TRIAL_FILE, _DATA_REPORT]
    if exists(path / _TRIAL_FILE) or _has_provenance(path):
        ours += TRAINING_FILES  # such as config.yaml and checkpoints, which other tools make, too
    return [entry.name for entry in files_in(path, "[!.]*") if entry.name not in ours]


def _is_numbered_stage(name: str) -> bool:
    stage, _, number = name.rpartition("-")
    return stage in STAGES and number.isdecimal()


def _has_provenance(path: Path) -> bool:
    """Whether the directory `path` has the `run.json` of one of our trainings."""
    try:
        versions = read_plain(path / "run.json").get("versions")
    except (FileNotFoundError, ValueError):
        return False
    return isinstance(versions, dict) and "espnet3" in versions
