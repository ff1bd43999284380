"""The ledger of a run: what each second of its jobs was spent on, as a pure function of `RunFacts`.

Within an attempt, what the ranks have counted themselves, by a monotonic clock, comes first; what is left of
the time from its begin to its end is the start before the first batch, and the end after the last heartbeat.
No time is negative, however far apart the clocks of nodes are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from espnet3.rundir.heartbeat import EVERY_S
from espnet3.rundir.records.start import JobStart
from espnet3.rundir.time_spent import CHECKPOINT, DATA, STARTUP, TRAINING, VALIDATION
from espnet3.status.goodput.facts import AttemptFacts, JobFacts, RunFacts

QUEUED, LOST, HANG, STOPPING, IDLE, OTHER = "queued", "lost", "hang", "stopping", "idle", "other"
KINDS = (
    *(QUEUED, STARTUP, TRAINING, DATA, CHECKPOINT, VALIDATION),
    *(LOST, HANG, STOPPING, IDLE, OTHER),
)
"""queued: not on nodes. startup: from the start of the job, or of the attempt, to the first batch. lost:
work that no checkpoint held when the attempt ended, to be done again. hang: nothing was heard of the attempt
before its end. stopping: from the last sign of a rank to the end. idle: nodes held between two attempts, or
after the last. other: stages that don't train, and trainings of which an earlier version counted nothing."""
PLANNED = (TRAINING, DATA, CHECKPOINT, VALIDATION)
"""What a training without a start and without a fault consists of."""
SILENT_S = 30.0
"""So long without a heartbeat, and three times as long as ever before, is a hang."""


@dataclass(frozen=True)
class Row:
    """An attempt, with the time of its job before it; or a start of a job that made none."""

    job: str
    start: str
    stage: str
    attempt: int | None
    nodes: int
    gpus: int
    """In all."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """By kind, each of `KINDS`."""

    @property
    def held_s(self) -> float:
        """How long its nodes were held."""
        return sum(self.seconds.values()) - self.seconds.get(QUEUED, 0.0)


def ledger(run: RunFacts, now: float) -> list[Row]:
    """The rows, of jobs in the order of submission, then of attempts without a job.

    Args:
        run: what its files say.
        now: until when what runs is counted, in seconds since the epoch.
    """
    rows: list[Row] = []
    ends: dict[str, float] = {}
    for job in run.jobs:
        own = [attempt for attempt in run.attempts if attempt.job == job.name]
        eligible_at = max(job.submitted_at, ends.get(job.after, 0.0))
        of_job, ends[job.name] = _job_rows(job, own, eligible_at, now)
        rows += of_job
    names = {job.name for job in run.jobs}
    alone = [attempt for attempt in run.attempts if attempt.job not in names]
    for attempt in alone:
        runs = run.runs and attempt is alone[-1] and attempt.ended_at is None
        end = now if runs else _end(attempt, None)
        rows.append(_row(attempt, _spent(attempt, attempt.began_at, end, runs)))
    return rows


def totals(rows: Sequence[Row]) -> dict[str, float]:
    """Seconds by kind, of all rows."""
    return {kind: sum(row.seconds.get(kind, 0.0) for row in rows) for kind in KINDS}


def trained_share(rows: Sequence[Row]) -> float | None:
    """The share of the time on nodes, without other stages, that batches took; None: nothing trained."""
    return _share(rows, (TRAINING,))


def kept_share(rows: Sequence[Row]) -> float | None:
    """The share that starts, stops, faults and idle nodes have left; None: nothing trained."""
    return _share(rows, PLANNED)


def _share(rows: Sequence[Row], kinds: Sequence[str]) -> float | None:
    chosen = [row for row in rows if not row.seconds.get(OTHER)]
    seconds, held = totals(chosen), sum(row.held_s for row in chosen)
    return sum(seconds[kind] for kind in kinds) / held if held > 0 and seconds[TRAINING] else None


def _job_rows(
    job: JobFacts, attempts: Sequence[AttemptFacts], eligible_at: float, now: float
) -> tuple[list[Row], float]:
    """The rows of a job, and when it ended."""
    rows: list[Row] = []
    cursor = eligible_at
    starts = _all_starts(job, attempts)
    for position, start in enumerate(starts):
        own = [attempt for attempt in attempts if attempt.start == start.slurm_job]
        is_last = position == len(starts) - 1
        runs = job.present == "running" and is_last
        end = now if runs else _start_end(start, own)
        if not is_last:
            end = min(end, max(start.began_at, starts[position + 1].began_at))
        of_start = _start_rows(job.name, start, own, end, runs)
        queued = max(0.0, start.began_at - cursor)
        rows += [_plus(of_start[0], {QUEUED: queued}), *of_start[1:]]
        cursor = max(start.began_at, end)
    if job.present == "queued":
        last = starts[-1] if starts else None
        waits = Row(job.name, "", "", None, last.nodes if last else 1, 0, {QUEUED: max(0.0, now - cursor)})
        rows.append(waits)
        cursor = max(cursor, now)
    return rows, cursor


def _start_rows(
    job: str, start: JobStart, attempts: Sequence[AttemptFacts], end: float, runs: bool
) -> list[Row]:
    """The rows of one start: their times on nodes add up to its length."""
    gpus = start.nodes * start.gpus_per_node
    end = max(end, start.began_at)
    if not attempts:
        seconds = {STARTUP: end - start.began_at}
        return [Row(job, start.slurm_job, "", None, start.nodes, gpus, seconds)]
    rows: list[Row] = []
    cursor = start.began_at
    for position, attempt in enumerate(attempts):
        is_last = position == len(attempts) - 1
        limit = end if is_last else min(end, attempts[position + 1].began_at)
        began = min(max(cursor, attempt.began_at), end)
        at_work = runs and is_last and attempt.ended_at is None
        ended = end if at_work else min(max(began, _end(attempt, limit if is_last else None)), end)
        before = {IDLE if rows else STARTUP: began - cursor}
        row = _row(attempt, _spent(attempt, began, ended, at_work))
        row = replace(row, start=start.slurm_job, nodes=start.nodes, gpus=gpus)
        rows.append(_plus(row, before))
        cursor = ended
    after = STARTUP if runs else IDLE if attempts[-1].outcome in ("killed", "failed") else STOPPING
    rows[-1] = _plus(rows[-1], {after: end - cursor})
    return rows


def _spent(attempt: AttemptFacts, began: float, ended: float, at_work: bool) -> dict[str, float]:
    """What the time from `began` to `ended` of an attempt was spent on; adds up to it."""
    length = max(0.0, ended - began)
    beat = attempt.beat
    if not attempt.trains or (beat and "spent" not in beat):
        return {OTHER: length}
    spent = {kind: max(0.0, beat.get("spent", {}).get(kind, 0.0)) for kind in PLANNED}
    counted = sum(spent.values())
    if not counted:
        return {STARTUP: length}
    if counted > length:  # clocks that differ, or an end that is not known
        spent = {kind: seconds * length / counted for kind, seconds in spent.items()}
        counted = length
    rest = length - counted
    tail = min(max(0.0, ended - float(beat.get("at", ended))), rest)
    seconds = {STARTUP: rest - tail, **spent}
    if at_work:
        silent = tail > _silence(beat)
        return _added(seconds, {HANG if silent else TRAINING: tail})
    if attempt.outcome in ("done", "stopped"):
        return _added(seconds, {STOPPING: tail})
    saved = beat.get("saved", {})
    lost = {kind: max(0.0, spent[kind] - max(0.0, saved.get(kind, 0.0))) for kind in PLANNED}
    seconds = _added(seconds, {kind: -part for kind, part in lost.items()})
    until_sign = tail
    if attempt.rank_ended_at is not None:
        until_sign = min(tail, max(0.0, attempt.rank_ended_at - float(beat.get("at", ended))))
    if attempt.hung or until_sign > _silence(beat):
        return _added(seconds, {LOST: sum(lost.values()), HANG: until_sign, STOPPING: tail - until_sign})
    return _added(seconds, {LOST: sum(lost.values()) + until_sign, STOPPING: tail - until_sign})


def _silence(beat: Mapping[str, float]) -> float:
    return max(SILENT_S, 3 * max(EVERY_S, beat.get("longest_s", 0.0)))


def _end(attempt: AttemptFacts, otherwise: float | None) -> float:
    """When an attempt ended; of one whose end nobody has written `otherwise`, or its last sign of life."""
    if attempt.ended_at is not None:
        return attempt.ended_at
    signs = [attempt.began_at, float(attempt.beat.get("at", 0.0)), attempt.rank_ended_at or 0.0]
    return max(signs) if otherwise is None else otherwise


def _start_end(start: JobStart, attempts: Sequence[AttemptFacts]) -> float:
    """When a start that is over ended: the latest that is known of it."""
    return max([start.ended_at or start.began_at, *(_end(attempt, None) for attempt in attempts)])


def _all_starts(job: JobFacts, attempts: Sequence[AttemptFacts]) -> list[JobStart]:
    """The starts of a job; of one that is not written, as by an earlier version, what its attempts say."""
    starts = {start.slurm_job: start for start in job.starts}
    for attempt in attempts:
        if attempt.start not in starts:
            starts[attempt.start] = JobStart(
                attempt.start, attempt.nodes, attempt.gpus_per_node, attempt.began_at
            )
    return sorted(starts.values(), key=lambda start: start.began_at)


def _row(attempt: AttemptFacts, seconds: Mapping[str, float]) -> Row:
    gpus = attempt.nodes * attempt.gpus_per_node
    return Row(attempt.job, attempt.start, attempt.stage, attempt.number, attempt.nodes, gpus, seconds)


def _plus(row: Row, more: Mapping[str, float]) -> Row:
    return replace(row, seconds=_added(row.seconds, more))


def _added(seconds: Mapping[str, float], more: Mapping[str, float]) -> dict[str, float]:
    kinds = dict.fromkeys([*seconds, *more])
    return {kind: max(0.0, seconds.get(kind, 0.0) + more.get(kind, 0.0)) for kind in kinds}
