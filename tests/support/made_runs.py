"""Run directories made of plain files, in any state."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from espnet3.rundir.heartbeat import Heartbeat
from espnet3.rundir.layout import attempt_dir, heartbeat_path, jobs_dir, log_path
from espnet3.rundir.process import ProcessName
from espnet3.rundir.records.attempt import AttemptResult, Begin, write_begin, write_result
from espnet3.rundir.records.job import SubmittedJob, write_job, write_job_result, write_submission
from espnet3.rundir.records.outcome import TaskState, write_task_state
from espnet3.slurm.queue import SlurmJob
from espnet3.status.run_files import read_run
from espnet3.status.snapshot import QueueSnapshot
from espnet3.status.stage_states import stage_statuses
from espnet3.status.stage_status import StageStatus

ELSEWHERE = ProcessName("node1", 17, "boot-1", "100.0")
GONE = ProcessName(ProcessName.own().host, 2**22 + 5, "boot-1")


class MadeRun:
    """A run directory, filled by what a test says has happened."""

    def __init__(self, exp_dir: Path) -> None:
        self.exp_dir = exp_dir
        self.chain = "aa"
        self.position = 0

    def job(
        self,
        stage: str,
        job_id: str = "",
        *,
        after: str = "",
        result: AttemptResult | None = None,
        **fields: Any,
    ) -> str:
        """A job was described, and submitted if it has an id."""
        name = f"{stage}-{1 + len(list(jobs_dir(self.exp_dir).glob(f'{stage}-*')))}"
        job = SubmittedJob(
            name=name,
            stages=[stage],
            token=f"espnet3:{self.chain}-{self.position}",
            chain=self.chain,
            position=self.position,
            after=after,
            force=False,
            command=["run.sh"],
            max_restarts=3,
            submitted_by=asdict(GONE),
        )
        job = SubmittedJob(**{**asdict(job), **fields})
        self.position += 1
        write_job(jobs_dir(self.exp_dir) / name, job, "")
        if job_id:
            write_submission(jobs_dir(self.exp_dir) / name, job_id)
        if result:
            write_job_result(jobs_dir(self.exp_dir) / name, result)
        return name

    def attempt(
        self,
        stage: str,
        number: int = 1,
        *,
        job: str = "",
        result: AttemptResult | None = None,
        by: ProcessName = ELSEWHERE,
        tasks: tuple[TaskState, ...] = (),
        beat: dict[str, Any] | None = None,
        **fields: Any,
    ) -> Path:
        """An attempt was started by a process, on a node unless statuses otherwise."""
        directory = attempt_dir(self.exp_dir, stage, number)
        begin = Begin(stage, number, "slurm" if job else "local", 1, asdict(by), job)
        write_begin(directory, Begin(**{**asdict(begin), **fields}))
        for task in tasks:
            write_task_state(directory, task)
        if beat is not None:
            Heartbeat(heartbeat_path(directory, 0)).update(force=True, **beat)
        if result:
            write_result(directory, result)
        return directory

    def log(self, stage: str, text: str, number: int = 1, rank: int = 0) -> Path:
        """A task printed something."""
        path = log_path(self.exp_dir, stage, number, rank)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def statuses(self, queue: QueueSnapshot | None = None, now: float | None = None) -> list[StageStatus]:
        """What is told of it."""
        return stage_statuses(read_run(self.exp_dir), queue or QueueSnapshot(), now or time.time())

    def states(self, queue: QueueSnapshot | None = None) -> list[tuple[str, str]]:
        """States and reasons, by stage."""
        return [(one.state, one.reason) for one in self.statuses(queue)]


@pytest.fixture
def made(tmp_path: Path) -> MadeRun:
    """An empty run directory."""
    return MadeRun(tmp_path / "recipe" / "exp" / "default")


def slurm(*jobs: SlurmJob, past: tuple[SlurmJob, ...] = ()) -> QueueSnapshot:
    """Slurm's answer."""
    return QueueSnapshot(jobs, {job.job_id: job for job in past}, asked=True)


@pytest.fixture
def queue_of():
    """`slurm` as a fixture, so that test files need no import of this one."""
    return slurm
