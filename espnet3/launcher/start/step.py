"""Start an attempt's tasks with srun on the nodes of this process's Slurm allocation."""

import os
import signal
import subprocess
import uuid
from functools import partial
from pathlib import Path
from typing import Any

from espnet3.launcher.planning.plan import Job
from espnet3.launcher.rank.network import first_node_address
from espnet3.launcher.start.tasks import free_port, last_lines, task_environment
from espnet3.parent_death import signal_on_parent_death
from espnet3.rundir.layout import log_path
from espnet3.rundir.records.attempt import Begin
from espnet3.slurm.srun import killed_tasks, srun_command, start_error
from espnet3.slurm.step import srun_environment

_STEP_ENDS_S = 60.0


class StepTasks:
    """Tasks of a step that srun, a child of this process, has started."""

    def __init__(self, directory: Path, log: Path, world_size: int, srun: "subprocess.Popen[bytes]") -> None:
        self.directory, self.log, self.world_size = directory, log, world_size
        self._srun = srun
        self._is_ending = False

    def is_running(self) -> bool:
        """Whether srun, which waits for every task, is alive."""
        return self._srun.poll() is None

    def ask_to_stop(self) -> None:
        """Ask every task to save and end: srun passes this signal on."""
        if self.is_running():
            self._srun.send_signal(signal.SIGUSR1)

    def lost_ranks(self) -> dict[int, str]:
        """The ranks that a signal has ended, and which, as srun says; it ends the others by itself."""
        try:
            printed = (self.directory / "srun.log").read_text(errors="replace")
        except OSError:
            return {}
        return killed_tasks(printed)

    def end_now(self) -> set[int]:
        """Have srun end the step; it does not say which ranks were alive."""
        if self.is_running() and not self._is_ending:
            self._is_ending = True
            self._srun.send_signal(signal.SIGTERM)
        return set()

    def kill(self) -> None:
        """End the step at once and wait until it is gone."""
        self.end_now()
        try:
            self._srun.wait(timeout=_STEP_ENDS_S)
        except subprocess.TimeoutExpired:
            self._srun.kill()
            self._srun.wait()

    def early_output(self, rank: int) -> list[str]:
        """The last lines that a rank, or srun about it, printed before it opened its own log."""
        early_log = self.directory / f"early-{rank}.log"
        return last_lines([path for path in (early_log, self.directory / "srun.log") if path.is_file()])

    def start_error(self) -> str:
        """A wrong program or option, by what srun says."""
        return start_error(self.early_output(0))


def start_step(job: Job, exp_dir: Path, directory: Path, begin: Begin) -> StepTasks:
    """Start the tasks of `job` with srun; returns at once. They are asked to stop when this process dies."""
    command = srun_command(
        job.resources, directory, directory / "early-%t.log", program=TASK, nodes=begin.nodes
    )
    with (directory / "srun.log").open("ab") as messages:
        srun = start_srun(
            command,
            stdin=subprocess.DEVNULL,
            stdout=messages,
            stderr=messages,
            env=srun_environment(os.environ) if job.launcher == "allocation" else None,
        )
    return StepTasks(directory, log_path(exp_dir, job.stage, begin.number, rank=0), job.world_size, srun)


def start_srun(command: list[str], **options: Any) -> "subprocess.Popen[bytes]":
    """Start an srun that passes SIGUSR1 on to its tasks when this process dies; `options` are of Popen."""
    return subprocess.Popen(
        command,
        preexec_fn=partial(signal_on_parent_death, signal.SIGUSR1, os.getpid()),
        start_new_session=True,  # Ctrl-C on the terminal is for the command, which passes it on
        **options,
    )


def step_environment(job: Job, nodes: list[str]) -> dict[str, str]:
    """Environment variables of every task of a step: threads, and the rendezvous of the ranks.

    Raises:
        UserError: the first node can't be reached by its name or its address.
    """
    environment = task_environment(job.resources)
    if job.world_size > 1:
        address, port = first_node_address(nodes), free_port(uuid.uuid4().hex)
        environment |= {"MASTER_ADDR": nodes[0], "MASTER_PORT": str(port), "MASTER_IP": address}
    return environment


TASK = ("espnet3.launcher.rank.entry", "espnet3.launcher.rank.task")
