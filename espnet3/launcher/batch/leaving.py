"""How a job leaves: it ends, waits for Slurm, starts again, or is continued by another job."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from espnet3.errors import UserError
from espnet3.outcomes.restart import RestartDecision, decide_unended, with_reason
from espnet3.rundir.records.job import write_job_result
from espnet3.slurm.own_job import is_ended_by_slurm, own_slurm_job_id, requeue, wait_for_slurm
from espnet3.slurm.restarting.job_change import JobChange
from espnet3.terminal.screen import Screen


def leave(
    folder: Path, decision: RestartDecision, screen: Screen, submit_follow_up: Callable[[JobChange], str]
) -> int:
    """Exit, wait or requeue the job in `folder`; returns this process's exit code unless Slurm ends it.

    Where Slurm refuses to requeue it, `submit_follow_up` submits a job that continues it; it returns the id.
    """
    job_id = own_slurm_job_id()
    if decision.after == "wait":
        # Slurm knows whether the job was cancelled or preempted: no result is written.
        screen.line("waiting for Slurm to end this job")
        if not wait_for_slurm(job_id):
            decision = decide_unended(decision)
            screen.line(f"{'starts again' if decision.restarts else 'ends'}: {decision.reason}")
            if decision.after == "exit":
                write_job_result(folder, decision.result)
    if decision.restarts and is_ended_by_slurm(job_id):
        screen.line("does not start again by itself: Slurm is ending this job")
        return 1
    if decision.restarts:
        try:
            requeue(job_id, decision.change, screen.line)
        except UserError as error:
            screen.line(f"Slurm does not requeue this job: {error}")
            return _continue_by(submit_follow_up, folder, decision, screen)
    return decision.exit_code


def _continue_by(
    submit_follow_up: Callable[[JobChange], str], folder: Path, decision: RestartDecision, screen: Screen
) -> int:
    """Submit the job that continues this one, or write why there is none; returns the exit code."""
    assert decision.result is not None
    try:
        screen.line(f"continues as job {submit_follow_up(decision.change)}")
    except (UserError, OSError) as error:
        reason = f"Slurm neither requeues the job nor takes one that continues it: {error}"
        screen.line(reason)
        with suppress(OSError):
            write_job_result(folder, with_reason(replace(decision.result, restarts=False), reason))
    return decision.exit_code
