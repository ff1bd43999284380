"""Every state that a stage can be in, from files and Slurm's answer."""

import os
import time
from dataclasses import asdict

import pytest

from espnet3.errors import UserError
from espnet3.launcher.follow.logs import print_logs
from espnet3.launcher.resume import resume
from espnet3.outcomes.job import NO_RESULT
from espnet3.rundir import claim
from espnet3.rundir.process import ProcessName
from espnet3.rundir.records.attempt import AttemptResult
from espnet3.rundir.records.outcome import TaskState
from espnet3.slurm.queue import SlurmJob
from espnet3.status.run_files import read_run
from espnet3.status.snapshot import QueueSnapshot
from espnet3.status.stage_states import jobs_to_query
from espnet3.terminal.screen import Screen

AWAY = QueueSnapshot(asked=True, problem="Unable to contact slurm controller")
GONE = ProcessName(ProcessName.own().host, 2**22 + 5, "boot-1")


def task(**fields) -> TaskState:
    return TaskState(**{"rank": 0, "process": asdict(GONE), "log": "/log", **fields})


@pytest.mark.parametrize(
    ("slurm", "state"),
    [
        (SlurmJob("7", "PENDING", "Priority"), ("queued", "Priority")),
        (SlurmJob("7", "PENDING"), ("queued", "pending")),
        (SlurmJob("7", "PENDING", "JobHeldUser"), ("held", "JobHeldUser: `scontrol release 7`")),
        (
            SlurmJob("7", "PENDING", "JobHeldAdmin"),
            ("held", "JobHeldAdmin: `scontrol release 7`, by an administrator"),
        ),
        (
            SlurmJob("7", "PENDING", "launch failed requeued held"),
            ("held", "launch failed requeued held: `scontrol release 7`"),
        ),
        (SlurmJob("7", "REQUEUE_HOLD"), ("held", "requeue_hold: `scontrol release 7`")),
        (SlurmJob("7", "SUSPENDED"), ("held", "suspended: `scontrol resume 7`, by an administrator")),
        (SlurmJob("7", "RUNNING"), ("running", "starting")),
        (SlurmJob("7", "COMPLETING"), ("killed", "ended before the stage began")),
        (SlurmJob("7", "CONFIGURING"), ("queued", "configuring")),
        (SlurmJob("7", "COMPLETED"), ("failed", NO_RESULT)),
        (SlurmJob("7", "CANCELLED"), ("cancelled", "")),
        (SlurmJob("7", "CANCELLED", "by 1000"), ("cancelled", "")),
        (SlurmJob("7", "CANCELLED", "DependencyNeverSatisfied"), ("blocked", "what it waits for failed")),
        (SlurmJob("7", "FAILED"), ("failed", "ended as FAILED")),
        (SlurmJob("7", "NODE_FAIL"), ("killed", "ended as NODE_FAIL")),
        (SlurmJob("7", "OUT_OF_MEMORY"), ("killed", "ended as OUT_OF_MEMORY")),
    ],
)
def test_a_job_that_has_begun_nothing_is_what_slurm_says(made, queue_of, slurm, state):
    made.job("train", "7")
    assert made.states(queue_of(slurm)) == [state]
    if not slurm.in_queue:
        assert made.states(queue_of(past=(slurm,))) == [state]


def test_without_an_answer_of_slurm_the_files_are_told(made):
    train = made.job("train", "7")
    made.job("validate", "", after=train)
    assert made.states(AWAY) == [("queued", ""), ("not started", "never submitted")]
    made.attempt("train", job=train, slurm_job_id="7")
    assert made.states(AWAY)[0] == ("running", "")


def test_a_job_that_slurm_has_forgotten_ended(made, queue_of):
    train = made.job("train", "7")
    made.job("validate", "8", after=train)
    assert made.states(queue_of()) == [("cancelled", "gone from the queue"), ("blocked", "stage 2 cancelled")]
    (made.exp_dir / "logs/train").mkdir(parents=True)
    (made.exp_dir / "logs/train/job-7.log").touch()
    assert made.states(queue_of())[0] == ("failed", "ended before the stage began")
    made.attempt("train", job=train)
    assert made.states(queue_of())[0] == ("killed", "ended without a result")


def test_what_a_job_wrote_as_its_result_counts_until_it_is_started_again(made, queue_of):
    made.job(
        "train", "7", result=AttemptResult("stopped", "SIGUSR2; 2 attempts in a row left no newer checkpoint")
    )
    assert jobs_to_query([read_run(made.exp_dir)]) == [], "Slurm need not be asked"
    for queue in (QueueSnapshot(), AWAY, queue_of(), queue_of(SlurmJob("7", "COMPLETING"))):
        assert made.states(queue)[0][0] == "stopped"
    assert made.states(queue_of(SlurmJob("7", "PENDING", "BeginTime"))) == [("queued", "BeginTime")]


def test_an_attempt_that_runs_is_told_with_its_heartbeat(made, queue_of):
    train = made.job("train", "7")
    beat = {"epoch": 3, "max_epochs": 20, "unit": "batch", "done": 5, "total": 9, "eta_s": 70.0}
    beat |= {"metrics": {"train/loss": 0.5}, "utterances_per_s": 12.5}
    made.attempt("train", 4, job=train, beat=beat, nodes=["node1", "node2"], tasks=(task(),))
    (one,) = made.statuses(queue_of(SlurmJob("7", "RUNNING")), now=time.time() + 30)
    assert (one.state, one.attempt, one.nodes, one.job_id) == ("running", 4, ["node1", "node2"], "7")
    assert (one.epoch, one.max_epochs, one.done, one.total, one.eta_s) == (3, 20, 5, 9, 70.0)
    assert one.metrics == {"train/loss": 0.5} and one.utterances_per_s == 12.5
    assert 30 <= one.heartbeat_age_s < 90 and 30 <= one.elapsed_s < 90 and one.log == "/log"


def test_a_job_in_its_epilog_is_what_it_ended_as(made, queue_of):
    epilog = queue_of(SlurmJob("7", "COMPLETING"))
    train = made.job("train", "7")
    made.attempt("train", job=train, beat={"epoch": 1})
    assert made.states(epilog) == [("running", "ending")], "it may be saving"
    assert made.statuses(epilog, now=time.time() + 3600)[0].state == "killed"
    made.attempt("train", 2, job=train, result=AttemptResult("stopped", "SIGTERM"))
    assert made.states(epilog) == [("running", "has saved")], "Slurm knows whether it starts again"
    made.attempt("train", 3, job=train, result=AttemptResult("done"))
    assert made.states(epilog) == [("done", "")]


def test_a_job_that_starts_again_is_restarting(made, queue_of):
    train = made.job("train", "7")
    made.attempt("train", job=train, result=AttemptResult("stopped", "SIGUSR2", restarts=True))
    assert made.states(queue_of(SlurmJob("7", "RUNNING"))) == [("restarting", "SIGUSR2")]
    assert made.states(queue_of(SlurmJob("7", "PENDING", "BeginTime"))) == [("restarting", "BeginTime")]
    assert made.states(AWAY) == [("restarting", "SIGUSR2")]
    assert made.states(queue_of()) == [("killed", "gone from the queue")]
    # Its node died: nobody wrote an end, and the job has a later start than the attempt.
    made.attempt("train", 2, job=train)
    later = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(time.time() + 60))
    assert made.states(queue_of(SlurmJob("7", "RUNNING", start=later))) == [("restarting", "starting")]
    earlier = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(time.time() - 60))
    assert made.states(queue_of(SlurmJob("7", "RUNNING", start=earlier))) == [("running", "")]


def test_a_job_waits_for_its_stage_and_is_blocked_when_that_is_not_done(made, queue_of):
    train = made.job("train", "7")
    made.job("validate", "8", after=train)
    waits = SlurmJob("8", "PENDING", "Dependency")
    assert made.states(queue_of(SlurmJob("7", "RUNNING"), waits))[1] == ("queued", "after stage 2")
    made.attempt("train", job=train, result=AttemptResult("failed", "rank 1: RuntimeError: no"))
    never = SlurmJob("8", "CANCELLED", "DependencyNeverSatisfied")
    for queue in (
        queue_of(SlurmJob("7", "FAILED"), never),
        queue_of(SlurmJob("7", "FAILED"), SlurmJob("8", "PENDING", "DependencyNeverSatisfied")),
        queue_of(past=(SlurmJob("7", "FAILED"), SlurmJob("8", "CANCELLED"))),
        queue_of(),
    ):
        assert made.states(queue) == [("failed", "rank 1: RuntimeError: no"), ("blocked", "stage 2 failed")]
    by_hand = queue_of(past=(SlurmJob("7", "FAILED"), SlurmJob("8", "CANCELLED", "by 0")))
    assert made.states(by_hand)[1] == ("cancelled", "")


def test_stages_of_one_job_are_told_apart(made, queue_of):
    job = made.job("train", "7", stages=["train", "validate"])
    running = queue_of(SlurmJob("7", "RUNNING"))
    made.attempt("train", job=job)
    assert made.states(running) == [("running", ""), ("queued", "after stage 2")]
    made.attempt("train", 2, job=job, result=AttemptResult("done"))
    assert made.states(running) == [("done", ""), ("running", "starting")]
    result = AttemptResult("failed", "rank 0: no")
    job = made.job("train", "8", stages=["train", "validate"], result=result)
    made.attempt("train", 3, job=job, result=result)
    assert made.states(queue_of()) == [("failed", "rank 0: no"), ("blocked", "stage 2 failed")]


def test_what_was_cancelled_says_whether_it_has_saved(made, queue_of):
    train = made.job("train", "7")
    a_while_ago = AttemptResult("stopped", "SIGTERM", ended_at=time.time() - 60)
    made.attempt("train", job=train, result=a_while_ago)
    assert made.states(queue_of(SlurmJob("7", "RUNNING"))) == [("running", "has saved")]
    assert made.states(queue_of(SlurmJob("7", "CANCELLED"))) == [("cancelled", "saved")]
    assert made.states(queue_of()) == [("stopped", "SIGTERM")], "without sacct"


def test_what_slurm_has_just_ended_may_be_in_the_queue_again_in_a_moment(made, queue_of):
    train = made.job("train", "7")
    made.attempt("train", job=train, result=AttemptResult("stopped", "SIGTERM"))
    for slurm in ((), (SlurmJob("7", "FAILED"),)):
        assert made.states(queue_of(*slurm)) == [("restarting", "Slurm has ended it")]
    assert made.states(queue_of(SlurmJob("7", "CANCELLED"))) == [("cancelled", "saved")]
    made.attempt("train", 2, job=train, result=AttemptResult("failed", "rank 0: no"))
    assert made.states(queue_of(SlurmJob("7", "FAILED"))) == [("failed", "rank 0: no")]


def test_an_id_that_nobody_noted_is_found_by_its_token_or_by_what_ran(made, queue_of):
    train = made.job("train")
    queue = queue_of(SlurmJob("7", "PENDING", "Priority", comment="espnet3:aa-0"))
    (one,) = made.statuses(queue)
    assert (one.state, one.job_id) == ("queued", "7")
    assert made.states(queue_of()) == [("not started", "never submitted")]
    made.attempt("train", job=train, slurm_job_id="9")
    assert made.statuses(queue_of(SlurmJob("9", "RUNNING")))[0].job_id == "9"


def test_a_job_that_is_submitted_just_now_is_queued(made, queue_of):
    made.job("train", submitted_by=asdict(ProcessName.own()))
    assert made.states(queue_of()) == [("queued", "being submitted")]


def test_where_slurm_began_anew_another_job_of_the_same_id_is_not_ours(made, queue_of):
    made.job("train", "7")
    other = SlurmJob("7", "RUNNING", comment="espnet3:bb-0")
    assert made.states(queue_of(other)) == [("cancelled", "gone from the queue")]
    assert made.states(queue_of(SlurmJob("7", "RUNNING", comment="the site's own")))[0][0] == "running"


def test_what_an_earlier_chain_never_came_to_is_left_out(made, queue_of):
    train = made.job("train", "7")
    made.attempt("train", job=train, result=AttemptResult("failed", "no"))
    made.job("validate", "8", after=train)
    made.chain, made.position = "bb", 0
    made.job("train", "9", result=AttemptResult("done"))
    assert made.states(queue_of()) == [("done", "")]


def test_a_local_stage_is_told_by_its_processes(made):
    made.attempt("prepare", by=GONE, result=AttemptResult("done"))
    made.attempt("train", by=ProcessName.own(), tasks=(task(process=asdict(ProcessName.own())),))
    assert made.states() == [("done", ""), ("running", "")]
    assert jobs_to_query([read_run(made.exp_dir)]) == []


@pytest.mark.parametrize(
    ("tasks", "state"),
    [
        ((task(),), ("killed", "")),
        ((), ("killed", "")),
        ((task(outcome="stopped"),), ("stopped", "")),
        ((task(outcome="failed", message="ValueError: no"),), ("failed", "rank 0: ValueError: no")),
    ],
)
def test_a_local_stage_whose_command_was_killed_is_told_by_its_tasks(made, tasks, state):
    made.attempt("train", by=GONE, tasks=tasks)
    assert made.states() == [state]


def test_tasks_that_outlive_their_command_are_still_running(made):
    made.attempt("train", by=GONE, tasks=(task(process=asdict(ProcessName.own())),))
    assert made.states() == [("running", "its command is gone")]


def test_a_stage_on_another_machine_runs_as_far_as_can_be_known(made, queue_of):
    made.attempt("train", by=ProcessName("ws2", 5, "boot-2"))
    assert made.states() == [("running", "on ws2")]
    made.attempt("validate", launcher="allocation", slurm_job_id="12", world_size=1)
    assert jobs_to_query([read_run(made.exp_dir)]) == [("12", "")]
    assert made.states(AWAY)[1][0] == "running"
    assert made.states(queue_of(SlurmJob("12", "RUNNING")))[1] == ("running", "")
    assert made.states(queue_of(SlurmJob("12", "CANCELLED")))[1] == ("killed", "")
    assert made.states(queue_of())[1] == ("killed", "")


def test_a_run_in_the_commands_own_process_is_told_by_its_claim(made, capsys):
    with claim.hold(made.exp_dir):
        (one,) = made.statuses()
        assert (one.stage, one.state) == ("", "running") and str(os.getpid()) in one.reason
        print_logs(made.exp_dir, None, 0, None)
        assert f"running (process {os.getpid()}" in capsys.readouterr().err


def test_a_run_of_which_nothing_can_be_read_is_not_started(made):
    (made.exp_dir / "jobs" / "train-1").mkdir(parents=True)
    (one,) = made.statuses()
    assert (one.stage, one.state) == ("", "not started")
    with pytest.raises(UserError, match="give the command again"):
        resume(made.exp_dir, Screen())
