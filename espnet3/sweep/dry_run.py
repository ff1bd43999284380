"""What a command with --multirun would do, as lines of text; touches nothing."""

from collections.abc import Sequence

from espnet3.errors import short_path
from espnet3.launcher.dry_run import describe as describe_jobs
from espnet3.rundir.job import SCRIPT
from espnet3.slurm.limits import Limits
from espnet3.sweep.command import PlannedSweep, messages
from espnet3.sweep.jobs.plan import Batch, plan_batches
from espnet3.sweep.jobs.submit import array_name, array_requests, job_request
from espnet3.sweep.run import SweepOptions, choose
from espnet3.sweep.show.table import value_text
from espnet3.sweep.trials.folder import array_dir, array_numbers, shared_dir
from espnet3.sweep.trials.naming import labels
from espnet3.sweep.trials.trial import configured

_SHOWN = 5


def describe(planned: PlannedSweep, asked: SweepOptions) -> list[str]:
    """The plan: the trials, what is known of them, and what would be submitted for those that need it."""
    record = planned.extended.record
    chosen = choose(planned.sweep, planned.trials, record, force=asked.force)
    keys = labels(planned.given.keys)
    lines = [f"sweep {short_path(planned.sweep)}: {chosen}", *(f"    {line}" for line in messages(planned))]
    lines.append(f"    objective: {record.direction} {record.objective}")
    for key in planned.given.keys:
        values = dict.fromkeys(value_text(trial.values[key]) for trial in planned.trials)
        some = ", ".join(list(values)[:_SHOWN]) + (", …" if len(values) > _SHOWN else "")
        lines.append(f"    {keys[key]}: {some}{f' ({len(values)} values)' if len(values) > _SHOWN else ''}")
    lines += [f"    trial {trial.name}" for trial in chosen.to_run[:_SHOWN]]
    if len(chosen.to_run) > _SHOWN:
        lines.append(f"    … and {len(chosen.to_run) - _SHOWN} more")
    batches = plan_batches(planned.sweep, chosen.to_run, planned.bases, asked.stages, asked.allocation)
    return [*lines, *describe_batches(planned, batches, force=asked.force)]


def describe_batches(planned: PlannedSweep, batches: Sequence[Batch], *, force: bool) -> list[str]:
    """What would be run once for several trials, and what each of them asks for."""
    lines: list[str] = []
    seen: set[str] = set()
    for batch in batches:
        if batch.shared is not None and batch.shared.name not in seen:
            seen.add(batch.shared.name)
            base = planned.bases[batch.shared.trial.config]
            where = shared_dir(planned.sweep, batch.shared.name)
            config = configured(planned.sweep, batch.shared.trial, base, batch.shared.name, where)
            lines += ["once for the trials that share it:"]
            lines += [f"    {line}" for line in describe_jobs(batch.shared.jobs, config, force=force)]
        lines += _of_batch(planned, batch)
    return lines


def _of_batch(planned: PlannedSweep, batch: Batch) -> list[str]:
    """What the trials of a batch ask for; one script stands for arrays that differ in their trials only."""
    count = len(batch.trials)
    lines = [f"{count} trial{'s' * (count > 1)}, each:", *(f"    {job}" for job in batch.jobs)]
    if not batch.on_slurm:
        return lines
    base = planned.bases[batch.trials[0].config]
    names = [trial.name for trial in batch.trials]
    settings = base["sweep"]
    per_job = settings["trials_per_job"]
    parts = array_requests(
        batch, names, Limits(), max_parallel=settings["max_parallel"], trials_per_job=per_job
    )
    if per_job > 1:
        jobs = sum(len(part.elements) for part in parts)
        lines.append(f"    {per_job} trials in each of {jobs} job{'s' * (jobs > 1)}, one after the other")
    folder = array_dir(planned.sweep, max(array_numbers(planned.sweep), default=0) + 1)
    after = ["JOB-ID-OF-SHARED"] if batch.shared else []
    script = job_request(parts[0], folder, name=array_name(base), token="espnet3:TOKEN", after=after).script
    if len(parts) > 1:
        lines.append(f"    in {len(parts)} arrays, of which this is the first")
    lines += [f"    script: {folder / SCRIPT}", *(f"    | {line}".rstrip() for line in script.splitlines())]
    return lines
