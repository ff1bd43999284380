"""Describe a sweep without running it, for --dry-run; writes nothing."""

from collections.abc import Sequence

from espnet3.errors import short_path
from espnet3.launcher.dry_run import describe as describe_jobs
from espnet3.launcher.planning.claims import check_free
from espnet3.number_text import counted
from espnet3.rundir.records.job import SCRIPT
from espnet3.slurm.site.limits import Limits
from espnet3.sweep.command import PlannedSweep, messages
from espnet3.sweep.jobs.plan import Batch
from espnet3.sweep.jobs.submit import array_name, array_requests, job_request
from espnet3.sweep.run import SweepOptions, plan_checked, select_trials
from espnet3.sweep.trials.folder import array_dir, array_numbers, shared_dir
from espnet3.sweep.trials.naming import labels
from espnet3.sweep.trials.trial import build_trial_config
from espnet3.sweep.trials.value_text import value_text

_SHOWN = 5


def describe(planned: PlannedSweep, options: SweepOptions) -> list[str]:
    """The plan in lines: the trials, their states, and what would be submitted.

    Raises:
        UserError: as for the command itself.
    """
    check_free(planned.sweep)
    record = planned.extended.record
    selection = select_trials(planned.sweep, planned.trials, record, force=options.force, bases=planned.bases)
    keys = labels(planned.command.keys)
    lines = [
        f"sweep {short_path(planned.sweep)}: {selection}",
        *(f"    {line}" for line in messages(planned)),
    ]
    lines.append(f"    objective: {record.direction} {record.objective}")
    for key in planned.command.keys:
        values = dict.fromkeys(value_text(trial.values[key]) for trial in planned.trials)
        shown = ", ".join(list(values)[:_SHOWN]) + (", …" if len(values) > _SHOWN else "")
        lines.append(f"    {keys[key]}: {shown}{f' ({len(values)} values)' if len(values) > _SHOWN else ''}")
    lines += [f"    trial {trial.name}" for trial in selection.to_run[:_SHOWN]]
    if len(selection.to_run) > _SHOWN:
        lines.append(f"    … and {len(selection.to_run) - _SHOWN} more")
    batches = plan_checked(planned.sweep, selection.to_run, planned.bases, options)
    return [*lines, *describe_batches(planned, batches, force=options.force)]


def describe_batches(planned: PlannedSweep, batches: Sequence[Batch], *, force: bool) -> list[str]:
    """The stages that trials share, and the jobs of each batch, in lines."""
    lines: list[str] = []
    described: set[str] = set()
    for batch in batches:
        if batch.shared is not None and batch.shared.name not in described:
            described.add(batch.shared.name)
            base = planned.bases[batch.shared.trial.config]
            directory = shared_dir(planned.sweep, batch.shared.name)
            config = build_trial_config(planned.sweep, batch.shared.trial, base, batch.shared.name, directory)
            lines += ["once for the trials that share it:"]
            lines += [f"    {line}" for line in describe_jobs(batch.shared.jobs, config, force=force)]
        lines += _describe_batch(planned, batch)
    return lines


def _describe_batch(planned: PlannedSweep, batch: Batch) -> list[str]:
    """The jobs of a batch in lines; one script stands for arrays that differ only in their trials."""
    count = len(batch.trials)
    lines = [f"{count} trial{'s' * (count > 1)}, each:", *(f"    {job}" for job in batch.jobs)]
    if not batch.on_slurm:
        return lines
    base = planned.bases[batch.trials[0].config]
    names = [trial.name for trial in batch.trials]
    settings = base["sweep"]
    per_job = settings["trials_per_job"]
    arrays = array_requests(
        batch, names, Limits(), max_parallel=settings["max_parallel"], trials_per_job=per_job
    )
    if per_job > 1:
        jobs = sum(len(array.elements) for array in arrays)
        lines.append(f"    {per_job} trials in each of {counted(jobs, 'job')}, one after the other")
    folder = array_dir(planned.sweep, max(array_numbers(planned.sweep), default=0) + 1)
    after = ["JOB-ID-OF-SHARED"] if batch.shared else []
    script = job_request(arrays[0], folder, name=array_name(base), token="espnet3:TOKEN", after=after).script
    if len(arrays) > 1:
        lines.append(f"    in {len(arrays)} arrays, of which this is the first")
    lines += [f"    script: {folder / SCRIPT}", *(f"    | {line}".rstrip() for line in script.splitlines())]
    return lines
