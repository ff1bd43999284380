"""The state of each stage of a run: a pure function of its files, Slurm's queue and the time."""

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from espnet3.outcomes.attempt import unwatched_result
from espnet3.outcomes.job import COMES_BACK_S, is_cancelled, job_result, may_come_back, may_restart
from espnet3.rundir.records.attempt import AttemptResult
from espnet3.slurm.queue import SlurmJob
from espnet3.stage_table import STAGES
from espnet3.status.run_files import JobFiles, RunFiles, StageFiles
from espnet3.status.snapshot import QueueSnapshot
from espnet3.status.stage_status import AT_WORK, OVER_NOT_DONE, SAVED, UNDER_WAY, StageStatus, State

_CLOCKS_DIFFER_S = 10.0
_SILENT_S = 90.0
"""Without a heartbeat for so long, a task of a job that Slurm is ending is gone."""
_NEVER_STARTED = "DependencyNeverSatisfied"


def jobs_to_query(runs: Sequence[RunFiles]) -> list[tuple[str, str]]:
    """The jobs, as (id, token), whose state only Slurm knows."""
    to_query = []
    for run in runs:
        for stage in run.stages:
            if stage.job is not None:
                if stage.job.result is None or may_restart(stage.job.result):
                    to_query.append((stage.job.job_id, stage.job.job.token))
            elif stage.attempt and not stage.attempt.result and stage.attempt.begin.slurm_job_id:
                to_query.append((stage.attempt.begin.slurm_job_id, ""))
        if run.owner and run.owner_lives is None and run.owner.slurm_job:
            to_query.append((run.owner.slurm_job.partition(".")[0], ""))
    return list(dict.fromkeys(to_query))


def owner_is_at_work(run: RunFiles, queue: QueueSnapshot) -> bool:
    """Whether the process that claims the run directory is alive, as far as known on this machine."""
    if run.owner_lives is None and run.owner is not None and run.owner.slurm_job:
        slurm = queue.find(run.owner.slurm_job.partition(".")[0])
        return slurm.in_queue if slurm else not queue.answered
    return run.owner_lives is not False


def stage_statuses(run: RunFiles, queue: QueueSnapshot, now: float) -> list[StageStatus]:
    """The status of every stage of `run` that has files, in order."""
    statuses: list[StageStatus] = []
    of_job: dict[str, StageStatus] = {}
    """The last stage of each job."""
    for stage in run.stages:
        job = stage.job.job if stage.job else None
        earlier = of_job.get(job.name) if job else None
        before = of_job.get(job.after) if job else None
        status = _stage_status(run, stage, before, queue, now)
        if earlier is not None and earlier.state != "done" and stage.attempt is None:
            # The same job runs both stages, and has not begun this one.
            if earlier.state in UNDER_WAY:
                status = replace(status, state="queued", reason=f"after stage {STAGES[earlier.stage].number}")
            elif earlier.state == "not started":
                status = replace(status, state="not started", reason=earlier.reason)
            else:
                status = replace(status, state="blocked", reason=_after(earlier))
        statuses.append(status)
        if job:
            of_job[job.name] = status
    if statuses:
        return statuses
    if owner_is_at_work(run, queue):
        return [StageStatus(run.exp_dir, "", "running", str(run.owner))]
    # A command died before it described a job, or the files are another user's.
    return [StageStatus(run.exp_dir, "", "not started", "nothing to be read")]


def _stage_status(
    run: RunFiles, stage: StageFiles, before: StageStatus | None, queue: QueueSnapshot, now: float
) -> StageStatus:
    if stage.job is not None:
        slurm = queue.find(stage.job.job_id, stage.job.job.token)
        state, reason = _of_job(stage, slurm, before, queue, now)
    else:
        slurm = None
        state, reason = _of_attempt(run, stage, queue)
    attempt = stage.attempt
    begin = attempt.begin if attempt else None
    ended_at = None if state == "running" else _ended_at(stage)
    heartbeat = stage.heartbeat
    metrics = stage.record.metrics if state == "done" and stage.record else heartbeat.get("metrics")
    return StageStatus(
        run=run.exp_dir,
        stage=stage.stage,
        state=state,
        reason=reason,
        diverged=state == "failed" and any(task.diverged for task in stage.tasks),
        launcher=begin.launcher if begin else "slurm" if stage.job else "",
        job=stage.job.job.name if stage.job else "",
        job_id=_job_id(stage, slurm),
        slurm_state=slurm.state if slurm else "",
        slurm_reason=slurm.reason if slurm else "",
        expected_start=slurm.start if slurm and slurm.state == "PENDING" else "",
        attempt=begin.number if begin else None,
        nodes=begin.nodes if begin else [],
        spares=begin.spares if begin else [],
        started_at=begin.started_at if begin else None,
        ended_at=ended_at,
        elapsed_s=max(0.0, (ended_at or now) - begin.started_at) if begin else None,
        epoch=heartbeat.get("epoch"),
        max_epochs=heartbeat.get("max_epochs"),
        unit=heartbeat.get("unit", ""),
        done=heartbeat.get("done"),
        total=heartbeat.get("total"),
        utterances_per_s=heartbeat.get("utterances_per_s"),
        metrics=metrics or {},
        eta_s=heartbeat.get("eta_s") if state in AT_WORK else None,
        heartbeat_age_s=max(0.0, now - heartbeat["at"]) if state in AT_WORK and "at" in heartbeat else None,
        log=stage.tasks[0].log if stage.tasks else "",
    )


def _of_job(
    stage: StageFiles, slurm: SlurmJob | None, before: StageStatus | None, queue: QueueSnapshot, now: float
) -> tuple[State, str]:
    job, attempt = stage.job, stage.attempt
    assert job is not None
    if attempt and attempt.result and attempt.result.outcome == "done" and stage.stage != job.job.stages[-1]:
        return "done", ""  # its job goes on with the next stage
    if job.result is not None and _is_final(job, slurm):
        return _ended(job.result)
    if slurm is not None and slurm.in_queue:
        return _in_queue(stage, slurm, before, now)
    if attempt and job.result is None and may_come_back(attempt.result, slurm, now):
        return "restarting", "Slurm has ended it"
    if job.is_being_continued and attempt and attempt.result and now - attempt.result.ended_at < COMES_BACK_S:
        return "restarting", attempt.result.reason
    if slurm is not None:
        return _over(stage, slurm, before)
    return _unknown_to_slurm(stage, before, queue)


def _is_final(job: JobFiles, slurm: SlurmJob | None) -> bool:
    """Whether the result that a job wrote still holds: not if it is queued again to restart."""
    if slurm is None or not slurm.in_queue or job.job.runs > 1:  # a job with several runs never restarts
        return True
    return slurm.state in ("RUNNING", "COMPLETING") and not may_restart(job.result)


def _over(stage: StageFiles, slurm: SlurmJob, before: StageStatus | None) -> tuple[State, str]:
    """The state of a job that is over according to Slurm."""
    if slurm.state == "CANCELLED" and not _has_begun(stage):
        # Cancelled by a user, or by Slurm because a job that it waits for failed.
        is_dependency = slurm.reason == _NEVER_STARTED or (not slurm.reason and _is_over(before))
        return ("blocked", _after(before)) if is_dependency else ("cancelled", "")
    result = job_result(stage.attempt, slurm, own=stage.job.result if stage.job else None)
    if is_cancelled(slurm):
        return "cancelled", SAVED if result.outcome == "stopped" else ""
    return _ended(result)


def _unknown_to_slurm(
    stage: StageFiles, before: StageStatus | None, queue: QueueSnapshot
) -> tuple[State, str]:
    """The state of a job that Slurm no longer knows, or was not asked for."""
    job, attempt = stage.job, stage.attempt
    assert job is not None
    if attempt is None and not job.job_id:
        return ("queued", "being submitted") if job.submitter_lives else ("not started", "never submitted")
    if not queue.answered and not (attempt and attempt.result and not attempt.result.restarts):
        if attempt and attempt.result:
            return "restarting", attempt.result.reason
        return ("running" if _has_begun(stage) else "queued"), ""
    if not _has_begun(stage):
        return ("blocked", _after(before)) if _is_over(before) else ("cancelled", "gone from the queue")
    return _ended(job_result(attempt, None, stage.tasks, has_log=job.has_log))


def _has_begun(stage: StageFiles) -> bool:
    """Whether the batch process of its job has begun, according to its files."""
    return stage.attempt is not None or (stage.job is not None and stage.job.has_log)


def _ended(result: AttemptResult) -> tuple[State, str]:
    return result.outcome, result.reason


def _before_the_epilog(stage: StageFiles, now: float) -> tuple[State, str] | None:
    """How a job ended whose processes are gone, while Slurm cleans up; None while one may be saving."""
    attempt = stage.attempt
    if attempt is None:
        return None if stage.job and stage.job.comes_later else ("killed", "ended before the stage began")
    if attempt.result is not None:
        return None if attempt.result.restarts or may_restart(attempt.result) else _ended(attempt.result)
    last_sign = max(attempt.begin.started_at, float(stage.heartbeat.get("at", 0.0)))
    return ("killed", "ended without a result") if now - last_sign > _SILENT_S else None


def _in_queue(
    stage: StageFiles, slurm: SlurmJob, before: StageStatus | None, now: float
) -> tuple[State, str]:
    attempt = stage.attempt
    if slurm.hold:
        return "held", slurm.hold
    if slurm.state == "COMPLETING" and (ended := _before_the_epilog(stage, now)):
        return ended
    if slurm.state in ("RUNNING", "COMPLETING", "SIGNALING", "STAGE_OUT", "RESIZING"):
        if attempt is None:
            if stage.job is not None and stage.job.comes_later:
                return "queued", f"behind others in job {slurm.job_id}"
            return "running", "starting"
        if attempt.result is None:
            is_earlier = attempt.begin.started_at < _seconds(slurm.start) - _CLOCKS_DIFFER_S
            if is_earlier:
                return "restarting", "starting"
            return "running", "ending" if slurm.state == "COMPLETING" else ""
        if attempt.result.restarts:
            return "restarting", attempt.result.reason
        return "running", "has saved" if attempt.result.outcome == "stopped" else "ending"
    if slurm.reason == _NEVER_STARTED:
        return "blocked", _after(before)
    if slurm.reason == "Dependency" and before is not None:
        return "queued", f"after stage {STAGES[before.stage].number}"
    return "restarting" if attempt is not None else "queued", slurm.reason or slurm.state.lower()


def _of_attempt(run: RunFiles, stage: StageFiles, queue: QueueSnapshot) -> tuple[State, str]:
    """The state of a stage that runs on this machine, or inside the user's allocation."""
    attempt = stage.attempt
    if attempt is None:  # launcher=debug leaves no more than the stage's record
        if stage.record and stage.record.done:
            return "done", ""
        if owner_is_at_work(run, queue):
            return "running", ""
        return "stopped", "not finished, as far as it can be read" if run.unreadable else "not finished"
    if attempt.result is not None:
        return _ended(attempt.result)
    if stage.launcher_lives or stage.tasks_live:
        return "running", "" if stage.launcher_lives else "its command is gone"
    if stage.launcher_lives is None:
        slurm = queue.find(attempt.begin.slurm_job_id) if attempt.begin.slurm_job_id else None
        if slurm is None and not (attempt.begin.slurm_job_id and queue.answered):
            return "running", f"on {attempt.launcher.host}"
        if slurm is not None and slurm.in_queue:
            return "running", ""
    return _ended(unwatched_result(stage.tasks, attempt.begin.world_size))


def _ended_at(stage: StageFiles) -> float | None:
    if stage.attempt is None:
        return None
    if stage.attempt.result is not None:
        return stage.attempt.result.ended_at
    task_ends = [task.ended_at or 0.0 for task in stage.tasks]
    return max(*task_ends, float(stage.heartbeat.get("at", 0.0)), stage.attempt.begin.started_at)


def _job_id(stage: StageFiles, slurm: SlurmJob | None) -> str:
    if slurm is not None:
        return slurm.job_id
    if stage.job is not None:
        return stage.job.job_id
    return stage.attempt.begin.slurm_job_id if stage.attempt else ""


def _is_over(before: StageStatus | None) -> bool:
    """Whether the job that a job waits for is over and not done."""
    return before is not None and before.state in OVER_NOT_DONE


def _after(before: StageStatus | None) -> str:
    """Why a job never started: the first stage that did not end as done."""
    if before is None:
        return "what it waits for failed"
    if before.state == "blocked":
        return before.reason
    return f"stage {STAGES[before.stage].number} {before.state}"


def _seconds(stamp: str) -> float:
    """Slurm's local time "2026-11-24T15:01:25" in seconds since the epoch; 0 if it is not a time."""
    return datetime.fromisoformat(stamp).timestamp() if re.match(r"\d{4}-\d\d-\d\dT", stamp) else 0.0
