"""In which state a trial is, told from its files and what Slurm says."""

import time
from dataclasses import asdict
from pathlib import Path

import pytest

from espnet3.rundir.layout import attempt_dir, jobs_dir
from espnet3.rundir.process import ProcessName
from espnet3.rundir.records.attempt import AttemptResult, Begin, write_begin, write_result
from espnet3.rundir.records.job import read_jobs, write_job_result, write_submission
from espnet3.rundir.records.outcome import TaskState, write_task_state
from espnet3.rundir.records.record import Record, write_record
from espnet3.slurm.queue import SlurmJob
from espnet3.status.snapshot import QueueSnapshot
from espnet3.sweep.jobs.array import SubmittedArray, write_array
from espnet3.sweep.show.states import failure_of, query_trial_jobs, read_trial_files, state_of
from espnet3.sweep.trials.folder import array_dir, trial_dir

STAGES = ["train", "validate"]
NODE = ProcessName("node1", 17, "boot-1", "70_1.0")


class MadeTrial:
    """Element 1 of an array with the id 70."""

    def __init__(self, sweep: Path, *, shares: bool = False) -> None:
        self.sweep, self.name, self.folder = sweep, "two", array_dir(sweep, 1)
        gone = asdict(ProcessName(ProcessName.own().host, 2**22 + 5, "boot-1"))
        elements = [["one"], ["two", "three"] if shares else ["two"]]
        array = SubmittedArray("espnet3:t", elements, STAGES, False, ["run.sh"], 3, submitted_by=gone)
        write_array(sweep, self.folder, array)
        self.exp_dir = trial_dir(sweep, "two")
        self.job = read_jobs(self.exp_dir)[0].name

    def noted(self) -> None:
        write_submission(self.folder, "70")

    def began(self, stage: str, result: AttemptResult | None = None, *tasks: TaskState) -> None:
        directory = attempt_dir(self.exp_dir, stage, 1)
        write_begin(directory, Begin(stage, 1, "slurm", 1, asdict(NODE), self.job, "70_1"))
        for task in tasks:
            write_task_state(directory, task)
        if result:
            write_result(directory, result)

    def done(self, stage: str) -> None:
        write_record(self.exp_dir, stage, Record({}, {}, done=True))

    def ended(self, result: AttemptResult) -> None:
        write_job_result(jobs_dir(self.exp_dir) / self.job, result)

    def state(self, *slurm: str, answers: bool = True, job_id: str = "70_1", reason: str = "") -> str:
        jobs = tuple(SlurmJob(job_id, state, reason, comment="espnet3:t[1]") for state in slurm)
        queue = QueueSnapshot(jobs, asked=True, problem="" if answers else "away")
        return state_of(read_trial_files(self.sweep, self.name, STAGES), STAGES, queue).state


@pytest.fixture
def trial(tmp_path: Path) -> MadeTrial:
    return MadeTrial(tmp_path)


def test_a_trial_that_nobody_handed_to_slurm_is_missing(trial: MadeTrial):
    assert trial.state() == "missing"


@pytest.mark.parametrize("noted", [True, False])
def test_a_queued_trial_is_known_by_its_arrays_id_or_token(trial: MadeTrial, noted: bool):
    if noted:
        trial.noted()
    assert trial.state("PENDING") == "queued"
    assert trial.state("RUNNING") == "running"
    assert trial.state("PENDING", job_id="70_0") in ("cancelled", "queued" if not noted else "missing")


def test_a_trial_that_shares_a_job_waits_for_its_turn_and_has_its_own_end(tmp_path: Path):
    trial = MadeTrial(tmp_path, shares=True)
    trial.noted()
    assert trial.state("PENDING") == "queued"
    assert trial.state("RUNNING") == "queued"
    assert trial.state("CANCELLED") == "cancelled"
    log = trial.exp_dir / "logs" / "train" / "job-70_1.log"
    log.parent.mkdir(parents=True)
    log.touch()
    assert trial.state("RUNNING") == "running"
    trial.ended(AttemptResult("failed", "rank 0: ValueError: no"))
    for state in ("RUNNING", "PENDING", "COMPLETED"):  # the job may be requeued for the others
        assert trial.state(state) == "failed"


def test_a_trial_is_done_when_its_own_stages_are(trial: MadeTrial):
    trial.noted()
    trial.began("train")
    trial.done("train")
    assert trial.state("RUNNING") == "running"  # between two stages
    write_result(attempt_dir(trial.exp_dir, "train", 1), AttemptResult("done"))
    assert trial.state("RUNNING") == "running"
    trial.began("validate", AttemptResult("done"))
    trial.done("validate")
    assert trial.state() == "done"
    assert (
        query_trial_jobs([read_trial_files(trial.sweep, "two", STAGES)]) == QueueSnapshot()
    )  # nothing is asked


def test_a_failure_is_told_with_the_rank_that_failed_first(trial: MadeTrial):
    trial.noted()
    task = TaskState(
        0,
        asdict(NODE),
        "",
        ended_at=time.time(),
        outcome="failed",
        message="ValueError: no",
        traceback="Trace…",
    )
    trial.began("train", AttemptResult("failed", "rank 0: ValueError: no"), task)
    trial.ended(AttemptResult("failed", "rank 0: ValueError: no"))
    files = read_trial_files(trial.sweep, "two", STAGES)
    state = state_of(files, STAGES, QueueSnapshot((SlurmJob("70_1", "FAILED"),), asked=True))
    assert (state.state, state.message) == ("failed", "rank 0: ValueError: no")
    assert failure_of(files).traceback == "Trace…"


@pytest.mark.parametrize(
    ("slurm", "reason", "state"),
    [
        *(("CANCELLED", "by 0", "cancelled"), ("TIMEOUT", "", "killed"), ("OUT_OF_MEMORY", "", "killed")),
        *(("NODE_FAIL", "", "killed"), ("FAILED", "", "failed")),
    ],
)
def test_slurm_has_the_last_word_where_the_trial_has_none(trial: MadeTrial, slurm, reason, state):
    trial.noted()
    trial.began("train")
    assert trial.state(slurm, reason=reason) == state


def test_a_trial_that_waits_for_failed_statistics_is_cancelled_and_says_why(trial: MadeTrial):
    trial.noted()
    files = read_trial_files(trial.sweep, "two", STAGES)
    gone = SlurmJob("70_1", "CANCELLED", "DependencyNeverSatisfied", comment="espnet3:t[1]")
    state = state_of(files, STAGES, QueueSnapshot((gone,), asked=True))
    assert (state.state, state.message) == ("cancelled", "blocked: what it waits for failed")


def test_a_trial_that_slurm_may_start_again_is_not_over(trial: MadeTrial):
    trial.noted()
    trial.began("train", AttemptResult("stopped", "SIGTERM"))
    trial.ended(AttemptResult("stopped", "SIGTERM"))
    assert trial.state("COMPLETING") == "running"
    assert trial.state("PENDING", reason="BeginTime") == "running"
    assert trial.state("PREEMPTED") == "stopped"
    assert query_trial_jobs([read_trial_files(trial.sweep, "two", STAGES)]).asked


def test_while_slurm_is_away_a_running_trial_stays_one(trial: MadeTrial):
    trial.noted()
    trial.began("train")
    assert trial.state(answers=False) == "running"
