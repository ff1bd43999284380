"""Run stages one after the other, on this machine or in its allocation, until one does not end as done."""

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from omegaconf import DictConfig

from espnet3.config.checks.targets.exist import check_targets_exist
from espnet3.errors import UserError, first_of, short_path
from espnet3.launcher.attempt.run_stage import RunOptions, run_stage
from espnet3.launcher.planning.claims import check_writable, hold_directory
from espnet3.launcher.planning.decide import check_inputs, check_model_unchanged, decide_all
from espnet3.launcher.planning.plan import Job
from espnet3.rundir.layout import foreign_entries, stage_home
from espnet3.rundir.records.attempt import AttemptResult
from espnet3.rundir.records.record import read_record
from espnet3.stage_table import STAGES
from espnet3.terminal.screen import Screen


def check_before(jobs: Sequence[Job], config: DictConfig, *, force: bool) -> None:
    """Check run directory, inputs and configuration before anything is started.

    Raises:
        UserError: a run directory with files of something else, a missing input, or a training that was made
            from something else.
    """
    _check_not_foreign(Path(config.exp_dir))
    stages = [job.stage for job in jobs]
    check_targets_exist(config)
    check_inputs(config, stages, force=force)
    if any(STAGES[stage].trains for stage in stages):
        decide_all(config, stages, force=force)
    elif any("training" in STAGES[stage].reads for stage in stages):
        check_model_unchanged(config)


def _check_not_foreign(exp_dir: Path) -> None:
    check_writable(exp_dir)
    found = foreign_entries(exp_dir)
    if found:
        raise UserError(
            f"exp_dir={exp_dir} is not empty, and no run directory (it holds {first_of(found, 3)}):"
            " give a new folder"
        )


def run_in_turn(jobs: Sequence[Job], config: DictConfig, run_options: RunOptions) -> AttemptResult | None:
    """Run `jobs` in order until one does not end as done; the caller holds the run directory.

    Returns:
        How the last one ended; None after a second Ctrl-C.
    """
    exp_dir = Path(config.exp_dir).resolve()
    result: AttemptResult | None = AttemptResult("done")
    for job in jobs:
        home = stage_home(config, job.stage)
        with hold_directory(home, run_options.screen, wait=True) if home != exp_dir else nullcontext():
            result = run_stage(job, config, run_options)
        if result is None or result.outcome != "done":
            return result
    return result


def show_metrics(exp_dir: Path, home: Path, stage: str, screen: Screen) -> None:
    """Print the metrics of `stage`, whose directory is `home`."""
    record = read_record(home, stage)
    if record is not None and record.metrics:
        screen.metrics(f"metrics of {short_path(exp_dir)}", record.metrics)
