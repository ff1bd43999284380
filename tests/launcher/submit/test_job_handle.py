"""The handle of a submitted job: built from its folder, it says what submitit's users ask."""

import pickle
import subprocess
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from submitit import SlurmJob
from submitit.core.utils import FailedJobError

from espnet3.errors import UserError
from espnet3.launcher.submit.job_handle import JobFailed, JobHandle, QueueWatcher, load_jobs
from espnet3.rundir.layout import attempt_dir, job_log, jobs_dir
from espnet3.rundir.process import ProcessName
from espnet3.rundir.records.attempt import AttemptResult, Begin, write_begin, write_result
from espnet3.rundir.records.job import SubmittedJob, write_job, write_job_result, write_submission
from espnet3.rundir.records.outcome import TaskState, write_task_state
from espnet3.rundir.records.record import Record, write_record

GONE = asdict(ProcessName(ProcessName.own().host, 2**22 + 5, "boot-1"))


class Run:
    """A run directory with jobs, filled by what a test says has happened."""

    def __init__(self, exp_dir: Path) -> None:
        self.exp_dir = exp_dir

    def job(self, stage: str, job_id: str = "", *, name: str = "", **fields: Any) -> Path:
        """A job was described, and submitted if it has an id; its folder."""
        folder = jobs_dir(self.exp_dir) / (name or f"{stage}-1")
        described = {
            "name": folder.name, "stages": [stage], "token": f"espnet3:{folder.name}", "chain": "c",
            "position": 0, "after": "", "force": False, "command": ["run.sh"], "max_restarts": 3,
            "submitted_by": GONE, "written_at": float(len(list(folder.parent.glob("*")))),
        }  # fmt: skip
        folders = {name: str(self.exp_dir / name) for name in ("recipe_dir", "data_dir", "stats_dir")}
        config = "".join(f"{key}: {path}\n" for key, path in {"exp_dir": self.exp_dir, **folders}.items())
        write_job(folder, SubmittedJob(**{**described, **fields}), config)
        if job_id:
            write_submission(folder, job_id)
        return folder

    def attempt(
        self, folder: Path, result: AttemptResult, *tasks: TaskState, stage: str = "train", number: int = 1
    ) -> None:
        """An attempt of the job began and ended."""
        directory = attempt_dir(self.exp_dir, stage, number)
        write_begin(directory, Begin(stage, number, "slurm", len(tasks) or 1, GONE, folder.name, "12"))
        for task in tasks:
            write_task_state(directory, task)
        write_result(directory, result)

    def done(self, folder: Path, stage: str = "train", **metrics: float) -> None:
        """The job is over, and has measured something."""
        self.attempt(folder, AttemptResult("done"), stage=stage)
        write_record(self.exp_dir, stage, Record({}, {}, done=True, metrics=metrics))
        write_job_result(folder, AttemptResult("done"))


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr(JobHandle, "watcher", QueueWatcher())
    return Run(tmp_path / "exp" / "default")


def test_a_handle_is_a_job_of_submitit_and_leads_to_our_files(run: Run, slurm):
    folder = run.job("train", "12")
    slurm.queue("12", "PENDING", "espnet3:train-1", "Priority")
    job = JobHandle.load(folder)
    assert isinstance(job, SlurmJob)
    assert (job.job_id, job.state, job.done(), job.name, job.stage) == (
        "12",
        "PENDING",
        False,
        "train-1",
        "train",
    )
    assert job.exp_dir == run.exp_dir and job.num_tasks == 1
    assert job.get_info() == {"JobID": "12", "State": "PENDING", "NodeList": "n1"}
    log = run.exp_dir / "logs" / "train" / "job-12.log"
    assert (job.paths.stdout, job.paths.stderr, job.paths.folder) == (log, log, folder)
    assert job.paths.submission_file == folder / "job.sh"
    log.parent.mkdir(parents=True)
    log.write_text("hello\n")
    assert job.stdout() == job.stderr() == "hello\n"


def test_the_result_is_the_metrics_of_the_stage_for_any_process(run: Run, slurm):
    folder = run.job("train", "12")
    run.done(folder, loss=0.5)
    slurm.queue("12", "COMPLETED", "espnet3:train-1")
    job = JobHandle.load(folder)
    assert job.done() and job.exception() is None
    assert job.result() == {"loss": 0.5} and job.results() == [{"loss": 0.5}]
    assert pickle.loads(pickle.dumps(job)).result() == {"loss": 0.5}
    program = (
        "import sys; from espnet3.launcher.submit.job_handle import load_jobs\n"
        f"[job] = load_jobs({str(run.exp_dir)!r}); print(job.result(), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "{'loss': 0.5} False\n"


def test_a_job_that_slurm_has_not_let_go_of_is_done_when_it_says_so(run: Run, slurm):
    folder = run.job("train", "12")
    run.done(folder)
    slurm.queue("12", "RUNNING", "espnet3:train-1")
    job = JobHandle.load(folder)
    assert (job.done(), job.state) == (True, "RUNNING")
    slurm.queue("12", "PENDING", "espnet3:train-1")  # somebody has requeued it
    assert not job.done(force_check=True)


def test_the_exception_has_the_traceback_of_the_rank_that_failed_first(run: Run, slurm):
    folder = run.job("train", "12")
    run.attempt(
        folder,
        AttemptResult("failed", "rank 1: ValueError: boom"),
        TaskState(0, GONE, "0", ended_at=1.0, outcome="failed", traceback="lost", peer_lost=True),
        TaskState(
            1, GONE, "1", ended_at=2.0, outcome="failed", message="boom", traceback="Traceback\nboom\n"
        ),
    )
    write_job_result(folder, AttemptResult("failed", "rank 1: ValueError: boom"))
    slurm.queue("12", "FAILED", "espnet3:train-1")
    job = JobHandle.load(folder)
    with pytest.raises(FailedJobError) as raised:
        job.result()
    error = raised.value
    assert isinstance(error, JobFailed)
    assert (error.stage, error.job_id, error.state, error.rank) == ("train", "12", "failed", 1)
    assert error.reason == "rank 1: ValueError: boom" and error.traceback == "Traceback\nboom\n"
    log = run.exp_dir / "logs" / "train" / "attempt-1" / "rank-1.log"
    first, *_, last = str(error).splitlines()
    assert first == "stage 2 train, job 12, failed: rank 1: ValueError: boom"
    assert "Traceback\nboom\n" in str(error) and last == f"log: {log}"


def test_a_job_that_was_cancelled_before_it_began_has_no_traceback(run: Run, slurm):
    folder = run.job("train", "12")
    slurm.queue("12", "CANCELLED", "espnet3:train-1")
    error = JobHandle.load(folder).exception()
    assert error is not None
    assert (error.state, error.rank, error.traceback, error.log) == ("cancelled", None, "", None)
    assert str(error) == "stage 2 train, job 12, cancelled"


def test_a_job_behind_one_that_failed_says_so(run: Run, slurm):
    first = run.job("train", "12")
    run.attempt(first, AttemptResult("failed", "boom"))
    write_job_result(first, AttemptResult("failed", "boom"))
    second = run.job("validate", "13", after="train-1", position=1)
    slurm.says("squeue", "".join(
        f"{job}|{state}|None|n1|2026-01-01T00:00:00|espnet3:{name}\n"
        for job, state, name in (("12", "FAILED", "train-1"), ("13", "CANCELLED", "validate-1"))
    ))  # fmt: skip
    error = JobHandle.load(second).exception()
    assert error is not None and (error.state, error.reason) == ("blocked", "stage 2 failed")


def test_an_older_job_keeps_its_own_end(run: Run, slurm):
    old = run.job("train", "12")
    run.attempt(old, AttemptResult("failed", "boom"))
    write_job_result(old, AttemptResult("failed", "boom"))
    new = run.job("train", "14", name="train-2", chain="d")
    run.attempt(new, AttemptResult("done"), number=2)
    write_job_result(new, AttemptResult("done"))
    assert [JobHandle.load(folder).exception() is None for folder in (old, new)] == [False, True]
    assert [job.job_id for job in load_jobs(run.exp_dir)] == ["14"]


def test_an_id_that_slurm_gave_to_another_job_since_is_not_taken_for_it(run: Run, slurm):
    folder = run.job("train", "12")
    run.done(folder)
    slurm.queue("12", "PENDING", "espnet3:another")
    assert JobHandle.load(folder).state == "UNKNOWN"
    assert JobHandle.load(folder).done()


def test_waiting_ends_with_the_job(run: Run, slurm):
    folder = run.job("train", "12")
    slurm.queue("12", "RUNNING", "espnet3:train-1")
    job = JobHandle.load(folder)
    waiting = threading.Thread(target=job.wait)
    waiting.start()
    while len(slurm.called) < 2:
        waiting.join(0.05)
    assert waiting.is_alive()
    run.done(folder, loss=1.0)
    waiting.join(60)
    assert not waiting.is_alive() and job.result() == {"loss": 1.0}


def test_a_job_is_cancelled_unless_others_would_end_with_it(run: Run, slurm):
    JobHandle.load(run.job("train", "12")).cancel()
    assert slurm.called == ["scancel --quiet 12"]
    shared = JobHandle.load(run.job("train", "70_1", name="train-2", runs=3))
    with pytest.raises(UserError, match="runs 2 other trials"):
        shared.cancel()
    shared.cancel(check=False)
    assert slurm.called == ["scancel --quiet 12"]


def test_an_element_of_an_array_has_the_result_of_its_last_stage(run: Run, slurm, tmp_path: Path):
    array = tmp_path / "arrays" / "1"
    array.mkdir(parents=True)
    write_submission(array, "70")
    folder = run.job("train", token="espnet3:a[4]", stages=["train", "validate"], array=str(array), element=4)
    run.done(folder, "train", error=0.5)
    run.done(folder, "validate", error=0.25)
    slurm.queue("70_4", "COMPLETED", "espnet3:a")
    job = JobHandle.load(folder)
    assert (job.job_id, job.state) == ("70_4", "COMPLETED")
    assert job.result() == {"error": 0.25}
    assert job.paths.submission_file == array / "job.sh"
    assert job.paths.stdout == job_log(run.exp_dir, "train", "70_4")


def test_what_is_no_submitted_job_has_no_handle(run: Run):
    with pytest.raises(UserError, match="describes no job"):
        JobHandle.load(run.exp_dir / "jobs" / "train-7")
    with pytest.raises(UserError, match="was not submitted"):
        JobHandle.load(run.job("train"))
