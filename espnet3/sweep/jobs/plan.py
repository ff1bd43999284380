"""Plans batches: trials with the same resources, after the stages that they share. No I/O."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from espnet3.config.fingerprint import stage_part
from espnet3.config.references import overlap
from espnet3.errors import UserError
from espnet3.launcher.planning.plan import Job, main_job, on_slurm, plan
from espnet3.resources import Resources
from espnet3.rundir.layout import stage_home
from espnet3.slurm.allocation import Allocation
from espnet3.stage_table import STAGES, label, own_stages
from espnet3.sweep.trials.folder import shared_dir, trial_dir
from espnet3.sweep.trials.trial import Base, Trial, build_trial_config

_RESOURCE_KEYS = ("resources.", "launcher.", "trainer.devices", "trainer.num_nodes")
_SHARED_JOB = "espnet3.sweep.execute.shared_job"
_LAUNCHERS = ("slurm", "local", "allocation")


@dataclass(frozen=True)
class SharedStages:
    """Stages that run once for several trials."""

    name: str
    """Their run directory in `shared/`."""
    jobs: tuple[Job, ...]
    trial: Trial
    """One of these trials: its configuration is used."""


@dataclass(frozen=True)
class Batch:
    """Trials with the same resources that wait for the same shared stages."""

    jobs: tuple[Job, ...]
    """One for each stage, planned for the first trial."""
    shared: SharedStages | None
    trials: tuple[Trial, ...]

    @property
    def stages(self) -> list[str]:
        """Stages that each trial runs."""
        return [job.stage for job in self.jobs]

    @property
    def main(self) -> Job:
        """The job of the main stage."""
        return main_job(self.jobs)

    @property
    def on_slurm(self) -> bool:
        """Whether it is submitted to Slurm."""
        return on_slurm(self.main)

    @property
    def resources(self) -> Resources:
        """Resources of one allocation for all stages: the training's, or more if another stage needs it."""
        return self.main.resources.for_all([job.resources for job in self.jobs])


def plan_batches(
    sweep: Path,
    trials: Sequence[Trial],
    bases: Mapping[str, Base],
    stages: Sequence[str],
    allocation: Allocation | None = None,
) -> list[Batch]:
    """Sort trials into batches.

    Args:
        sweep: the sweep's directory.
        trials: the trials to run.
        bases: the configurations that they vary, by name.
        stages: stages that each trial runs.
        allocation: the one this process is in.

    Raises:
        UserError: resources and launcher contradict each other, or different trials would share a directory.
    """
    if all(STAGES[stage].is_shared for stage in stages):
        numbers = " or ".join(str(STAGES[stage].number) for stage in own_stages())
        raise UserError(f"--multirun: a trial trains or validates: give stages that include {numbers}")
    shared_stages = [stage for stage in stages if STAGES[stage].is_shared]
    names = _shared_names(sweep, trials, bases, shared_stages)
    batches: dict[tuple[str, str], Batch] = {}
    members: dict[tuple[str, str], list[Trial]] = {}
    for trial in trials:
        name = names.get(trial.name, "")
        requested = {key: value for key, value in trial.changes.items() if key.startswith(_RESOURCE_KEYS)}
        key = (_text([trial.config, requested]), name)
        members.setdefault(key, []).append(trial)
        if key in batches:
            continue
        base, shared = bases[trial.config], None
        if name:
            config = build_trial_config(sweep, trial, base, name, shared_dir(sweep, name))
            jobs = [replace(job, module=_SHARED_JOB) for job in plan(config, shared_stages, allocation)]
            shared = SharedStages(name, tuple(jobs), trial)
        config = build_trial_config(sweep, trial, base, trial.name, trial_dir(sweep, trial.name))
        jobs = plan(config, [stage for stage in stages if not name or stage not in shared_stages], allocation)
        batches[key] = Batch(tuple(jobs), shared, (trial,))
        _check(batches[key])
    return [replace(batch, trials=tuple(members[key])) for key, batch in batches.items()]


def _shared_names(
    sweep: Path, trials: Sequence[Trial], bases: Mapping[str, Base], stages: Sequence[str]
) -> dict[str, str]:
    """Trial -> directory name of the stages that it shares with others; trials that share none are left out.

    Raises:
        UserError: two trials would write different results to the same directory.
    """
    if not stages:
        return {}
    parts: dict[str, dict[str, Any]] = {}
    homes_of: dict[str, tuple[str, ...]] = {}
    groups: dict[tuple[str, ...], list[str]] = {}
    for trial in trials:
        base = bases[trial.config]
        relevant_keys = [
            key
            for stage in STAGES.values()
            if stage.is_shared
            for key in (stage.directory, *stage.fingerprint(base))
        ]
        relevant = {
            key: value
            for key, value in trial.changes.items()
            if any(overlap(key, other) for other in relevant_keys)
        }
        key = _text([trial.config, relevant])
        if key not in homes_of:
            config = build_trial_config(sweep, trial, base, trial.name, trial_dir(sweep, trial.name))
            homes_of[key] = tuple(str(stage_home(config, stage)) for stage in stages)
            for stage, home in zip(stages, homes_of[key], strict=True):
                part = stage_part(config, stage)
                first = parts.setdefault(f"{stage} {home}", part)
                if first != part:
                    changed = next(k for k in sorted({*first, *part}) if first.get(k) != part.get(k))
                    raise UserError(
                        f"{changed} is swept, and {label(stage)} of all trials fills {home}: sweep"
                        f" {STAGES[stage].directory}, too, or leave that stage out"
                    )
        groups.setdefault(homes_of[key], []).append(trial.name)
    return {
        trial: f"{stages[-1]}-{hashlib.sha256('|'.join(homes).encode()).hexdigest()[:8]}"
        for homes, names in groups.items()
        for trial in names
        if len(names) > 1
    }


def _check(batch: Batch) -> None:
    if batch.main.launcher not in _LAUNCHERS:
        raise UserError(
            f"launcher={batch.main.launcher}: a sweep runs with launcher=slurm, local or allocation; to debug"
            " a trial, run it alone, without --multirun"
        )
    submitted = next((job for job in batch.jobs if on_slurm(job)), None)
    if submitted is not None and not batch.on_slurm:
        raise UserError(
            f"resources.{submitted.stage}.launcher=slurm: all stages of a trial run in one place, and"
            f" {label(batch.main.stage)} runs here (launcher={batch.main.launcher})"
        )


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)
