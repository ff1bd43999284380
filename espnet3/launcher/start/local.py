"""Start an attempt's tasks as processes on this machine, through submitit's local executor."""

import contextlib
import os
import signal
import time
import uuid
from pathlib import Path
from subprocess import Popen
from typing import Any

from espnet3.launcher.planning.plan import Job
from espnet3.launcher.rank.task import main_in_submitit
from espnet3.launcher.start.tasks import free_port, last_lines, task_environment
from espnet3.rundir.files.json_file import from_plain
from espnet3.rundir.files.private import check_private
from espnet3.rundir.layout import log_path
from espnet3.rundir.process import ProcessName
from espnet3.rundir.records.attempt import Begin
from espnet3.rundir.records.outcome import read_task_states

_A_YEAR_MIN = 365 * 24 * 60
_ENDING_GRACE_S = 2.0


class LocalTasks:
    """Tasks that run on this machine as children of submitit's controller, which waits for all of them."""

    def __init__(self, directory: Path, log: Path, world_size: int, controller: "Popen[bytes]") -> None:
        self.directory, self.log, self.world_size = directory, log, world_size
        self._controller = controller

    def is_running(self) -> bool:
        """Whether the controller is alive."""
        return self._controller.poll() is None

    def ask_to_stop(self) -> None:
        """Ask every task to save and end."""
        if self.is_running():
            self._controller.send_signal(signal.SIGTERM)  # passed on to the tasks

    def lost_ranks(self) -> set[int]:
        """None: their state files name processes of this machine, whose death can be checked."""
        return set()

    def end_now(self) -> set[int]:
        """Kill every task that is alive; their ranks. The controller then ends by itself."""
        ended = set()
        for state in read_task_states(self.directory):
            process = from_plain(ProcessName, state.process)
            if process.is_alive():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL)
                    ended.add(state.rank)
        return ended

    def kill(self) -> None:
        """Kill the tasks and the controller, and wait until they are gone."""
        self.ask_to_stop()  # ends a task that has no signal handler yet
        deadline = time.monotonic() + _ENDING_GRACE_S
        while self.is_running() and time.monotonic() < deadline:
            self.end_now()
            time.sleep(0.02)
        if self.is_running():
            self._controller.kill()
        self._controller.wait()
        self.end_now()

    def early_output(self, rank: int) -> list[str]:
        """The last lines that a rank printed before it opened its own log."""
        return last_lines(list((self.directory / "submitit").glob(f"*_{rank}_log.out")))

    def start_error(self) -> str:
        """None: they are forks of this machine's Python."""
        return ""


def start_local(job: Job, exp_dir: Path, directory: Path, begin: Begin) -> LocalTasks:
    """Start the tasks of `job` on this machine; returns at once.

    Args:
        job: the job.
        exp_dir: the run directory.
        directory: the attempt's, with its description and configuration; submitit's files go there, too.
        begin: how the attempt begins.
    """
    from submitit import LocalExecutor

    from espnet3.launcher.submit.executor import controller_of

    check_private(directory)  # submitit's pickles there are executed
    executor = LocalExecutor(folder=directory / "submitit")
    executor.update_parameters(
        tasks_per_node=job.resources.tasks_per_node,
        gpus_per_node=job.resources.gpus_per_node,
        timeout_min=_A_YEAR_MIN,
        stderr_to_stdout=True,
    )
    # Ctrl-C on the terminal reaches all foreground processes; the controller and tasks inherit SIG_IGN.
    old_handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        submitted: Any = executor.submit(main_in_submitit, str(directory))
    finally:
        signal.signal(signal.SIGINT, old_handler)
    log = log_path(exp_dir, job.stage, begin.number, rank=0)
    return LocalTasks(directory, log, job.world_size, controller_of(submitted))


def local_environment(job: Job) -> dict[str, str]:
    """Environment variables of every task of a local job: threads, and the rendezvous of the ranks."""
    environment = task_environment(job.resources)
    if job.world_size > 1:
        port = free_port(uuid.uuid4().hex)
        environment |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return environment
