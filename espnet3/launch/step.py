"""Start an attempt's tasks over the nodes of the Slurm allocation that this process is in, with srun."""

import ctypes
import os
import re
import signal
import socket
import subprocess
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from espnet3.config.allocation import in_step
from espnet3.errors import UserError
from espnet3.launch.plan import Job
from espnet3.launch.queue import ask
from espnet3.launch.running import free_port, last_lines, task_environment
from espnet3.launch.sbatch import srun_command
from espnet3.rundir.attempt import Begin
from espnet3.rundir.layout import log_path
from espnet3.rundir.scontrol import fields

_STEP_ENDS_S = 60.0
_PR_SET_PDEATHSIG = 1
_SHAPE = re.compile(r"SLURM_(NPROCS|NTASKS(_PER_\w+)?|CPUS_PER_\w+|GPUS(_PER_\w+)?|TRES_PER_TASK)")
"""Variables by which sbatch's and salloc's options reach srun."""


class StepTasks:
    """Tasks below an srun of ours."""

    def __init__(self, directory: Path, log: Path, world_size: int, srun: "subprocess.Popen[bytes]") -> None:
        self.directory, self.log, self.world_size = directory, log, world_size
        self._srun = srun
        self._is_ending = False

    def is_running(self) -> bool:
        """Whether srun, which waits for every task, is still there."""
        return self._srun.poll() is None

    def ask_to_stop(self) -> None:
        """Ask every task to save and end: srun passes this signal on."""
        if self.is_running():
            self._srun.send_signal(signal.SIGUSR1)

    def lost_ranks(self) -> set[int]:
        """None: srun ends the others by itself."""
        return set()

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
        own = self.directory / f"early-{rank}.log"
        return last_lines([path for path in (own, self.directory / "srun.log") if path.is_file()])


def start_step(job: Job, exp_dir: Path, directory: Path, begin: Begin) -> StepTasks:
    """Start the tasks of `job` with srun; returns at once. When this process dies, they are asked to stop."""
    command = srun_command(job.resources, directory, directory / "early-%t.log", nodes=begin.nodes)
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
    libc = ctypes.CDLL(None)
    return subprocess.Popen(
        command,
        preexec_fn=lambda: libc.prctl(_PR_SET_PDEATHSIG, signal.SIGUSR1, 0, 0, 0),
        start_new_session=True,  # Ctrl-C on the terminal is for the command, which passes it on
        **options,
    )


def srun_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """For an srun in somebody's own allocation: its options alone say which tasks a step has.

    Inside another step, such as `srun --pty bash`, the new one shares what that holds, all memory too.
    """
    kept = {key: value for key, value in environment.items() if not _SHAPE.fullmatch(key)}
    if in_step(environment):
        kept = {key: value for key, value in kept.items() if not key.startswith("SLURM_MEM_PER_")}
        kept |= {"SLURM_OVERLAP": "1", "SLURM_MEM_PER_NODE": "0"}
    return kept


def step_environment(job: Job, nodes: list[str]) -> dict[str, str]:
    """Variables for every task of a step: threads, and where the ranks meet.

    Raises:
        UserError: the first node can't be reached by its name or its address.
    """
    environment = task_environment(job.resources)
    if job.world_size > 1:
        address, port = node_address(nodes[0]), free_port(uuid.uuid4().hex)
        environment |= {"MASTER_ADDR": nodes[0], "MASTER_PORT": str(port), "MASTER_IP": address}
    return environment


def allocated_nodes() -> list[str]:
    """Names of the allocation's nodes, rank 0's first."""
    return ask(["scontrol", "show", "hostnames", os.environ["SLURM_JOB_NODELIST"]]).split()


def node_address(node: str) -> str:
    """What Slurm reaches `node` by, for machines that don't know its name."""
    shown = ask(["scontrol", "--oneliner", "show", "node", node])
    address = fields(shown).get("NodeAddr", node)
    try:
        return str(socket.getaddrinfo(address, None, socket.AF_UNSPEC)[0][4][0])
    except OSError:
        raise UserError(
            f"node {node} can't be reached: neither its name nor Slurm's NodeAddr={address} resolves here;"
            " ask the site for /etc/hosts or DNS entries of the nodes"
        ) from None
