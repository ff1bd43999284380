"""Hand a job to submitit: the only file that talks to it."""

import os
import signal
import socket
from dataclasses import asdict, dataclass
from pathlib import Path
from subprocess import Popen
from typing import Any

from omegaconf import DictConfig, OmegaConf

from espnet3.launch.plan import Job
from espnet3.launch.task import run_task
from espnet3.rundir.atomic import write_text
from espnet3.rundir.layout import job_dir, log_path
from espnet3.rundir.process import ProcessName

_A_YEAR_MIN = 365 * 24 * 60


@dataclass(frozen=True)
class LocalJob:
    """A job that runs as processes here."""

    directory: Path
    log: Path
    """What rank 0 prints."""
    early_logs: Path
    """Folder with what tasks printed before they opened their own logs."""
    world_size: int
    controller: "Popen[bytes]"

    def is_running(self) -> bool:
        """Whether the process that started the tasks, which waits for all of them, is still there."""
        return self.controller.poll() is None

    def ask_to_stop(self) -> None:
        """Ask every task to save and end."""
        if self.is_running():
            self.controller.send_signal(signal.SIGTERM)  # it passes the signal on


def submit_local(job: Job, config: DictConfig, attempt: int) -> LocalJob:
    """Start the tasks of `job` on this machine through submitit's local executor; returns at once.

    Side effects: writes the job's directory (0700, because who can write there can run code as the user).
    """
    from submitit import LocalExecutor

    exp_dir = Path(config.exp_dir)
    directory = job_dir(exp_dir, job.stage, attempt)
    directory.mkdir(parents=True, mode=0o700)
    description = {"stage": job.stage, "attempt": attempt, "launched_by": asdict(ProcessName.own())}
    write_text(directory / "job.yaml", OmegaConf.to_yaml(OmegaConf.create(description)))
    write_text(directory / "config.yaml", OmegaConf.to_yaml(config, resolve=True))
    folder = directory / "submitit"
    executor = LocalExecutor(folder=folder)
    executor.update_parameters(
        tasks_per_node=job.tasks_per_node,
        gpus_per_node=job.gpus_per_node,
        timeout_min=_A_YEAR_MIN,
        stderr_to_stdout=True,
    )
    # Ctrl-C on the terminal reaches every process in the foreground: only this one may act on it.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        submitted: Any = executor.submit(run_task, str(directory), task_environment(job))
    finally:
        signal.signal(signal.SIGINT, before)
    submitted._cancel_at_deletion = False
    log = log_path(exp_dir, job.stage, attempt, rank=0)
    return LocalJob(directory, log, folder, job.world_size, submitted._process)


def task_environment(job: Job) -> dict[str, str]:
    """Variables for every task of a local job: threads, and where the ranks meet.

    Threads sleep while they wait: on a machine that is shared, spinning ones take the cores from those that
    work (two trainings of two threads on two cores: a quarter of the speed each).
    """
    waiting = os.environ.get("OMP_WAIT_POLICY", "PASSIVE")
    environment = {"OMP_NUM_THREADS": str(job.cpus_per_task), "OMP_WAIT_POLICY": waiting}
    if job.world_size > 1:
        environment |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
    return environment


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
