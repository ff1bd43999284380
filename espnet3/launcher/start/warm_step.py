"""A step of warm ranks, seen from the batch process: it runs the attempts of one trial after the other."""

import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from espnet3.launcher.planning.plan import Job
from espnet3.launcher.rank.warm_rank import Order
from espnet3.launcher.start.step import start_srun, start_step
from espnet3.launcher.start.tasks import RunningTasks, last_lines, task_environment
from espnet3.resources import Resources
from espnet3.rundir.layout import log_path
from espnet3.rundir.records.attempt import Begin
from espnet3.slurm.srun import warm_command
from espnet3.slurm.step import allocated_nodes

_RANKS_END_S = 60.0
_KILLED_WITHIN_S = 2.0


class WarmStep:
    """An srun whose ranks stay; the process that made it is the only one that gives orders."""

    def __init__(self, resources: Resources, log: Path) -> None:
        nodes = allocated_nodes()[: resources.nodes]
        environment = {key: value for key, value in os.environ.items() if key != "ESPNET3_JOB"}
        self.log = log
        self.exits: dict[int, int] = {}
        """Rank -> exit code of those that have ended in the attempt at hand; negative for a signal."""
        self._rest = b""
        with log.open("ab") as messages:
            self._srun = start_srun(
                warm_command(resources, log.stem, nodes, WARM_RANK),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=messages,
                bufsize=0,
                # What libraries read when they are loaded.
                env=environment | task_environment(resources),
            )
        assert self._srun.stdout is not None
        os.set_blocking(self._srun.stdout.fileno(), False)

    def is_alive(self) -> bool:
        """Whether its ranks take orders."""
        return self._srun.poll() is None

    def order(self, order: Order) -> None:
        """Tell all ranks; those that are gone are left out."""
        if order.attempt:
            self.exits = {}
        assert self._srun.stdin is not None
        with suppress(BrokenPipeError):
            self._srun.stdin.write(order.line())

    def look(self) -> None:
        """Read which ranks have ended."""
        assert self._srun.stdout is not None
        while received := self._srun.stdout.read(65536):
            *lines, self._rest = (self._rest + received).split(b"\n")
            for line in lines:
                rank, code = line.split()
                self.exits[int(rank)] = int(code)

    def end(self) -> None:
        """Have the ranks end, and wait until they have."""
        assert self._srun.stdin is not None
        with suppress(BrokenPipeError):
            self._srun.stdin.close()
        for harder in (self._srun.terminate, self._srun.kill):
            try:
                self._srun.wait(timeout=_RANKS_END_S)
                return
            except subprocess.TimeoutExpired:
                harder()
        self._srun.wait()


class WarmTasks:
    """The tasks of one attempt, below warm ranks."""

    def __init__(self, directory: Path, log: Path, world_size: int, step: WarmStep) -> None:
        self.directory, self.log, self.world_size = directory, log, world_size
        self._step = step

    def is_running(self) -> bool:
        """Whether a task still lives, and the step."""
        self._step.look()
        return len(self._step.exits) < self.world_size and self._step.is_alive()

    def ask_to_stop(self) -> None:
        """Ask every task to save and end."""
        self._step.order(Order(signal=signal.SIGUSR1))

    def lost_ranks(self) -> set[int]:
        """Those that a signal has ended."""
        return {rank for rank, code in self._step.exits.items() if code < 0}

    def end_now(self) -> set[int]:
        """Kill every task that still lives, and name those that ended by it."""
        self._step.look()
        before = set(self._step.exits)
        self._step.order(Order(signal=signal.SIGKILL))
        deadline = time.monotonic() + _KILLED_WITHIN_S
        while self.is_running() and time.monotonic() < deadline:
            time.sleep(0.02)
        return set(self._step.exits) - before

    def kill(self) -> None:
        """End every task at once, and the step with them."""
        self.end_now()
        self._step.end()

    def early_output(self, rank: int) -> list[str]:
        """The last lines that a rank, or the step, printed before it opened its own log."""
        own = self.directory / f"early-{rank}.log"
        return last_lines([path for path in (own, self._step.log) if path.is_file()])


class WarmSteps:
    """Starts attempts as `start_step` does, but in a warm step, where what they ask for fits into one.

    A step whose ranks were killed is followed by a fresh one. What does not fit runs in a step of its own,
    for which the warm one makes room.
    """

    def __init__(self, resources: Resources, log: Path) -> None:
        """The first step's ranks begin to import at once; `log` is how the names of their logs begin."""
        self.resources, self._log = resources, log
        self._number = 0
        self._step: WarmStep | None = self._new()

    def start(self, job: Job, exp_dir: Path, directory: Path, begin: Begin) -> RunningTasks:
        """Start the tasks of an attempt that `directory` describes; returns at once."""
        if not job.resources.fits_into(self.resources):
            self.end()
            return start_step(job, exp_dir, directory, begin)
        if self._step is None or not self._step.is_alive():
            self._step = self._new()
        asked = job.resources
        self._step.order(Order(str(directory), asked.nodes, asked.tasks_per_node, asked.gpus_per_node))
        log = log_path(exp_dir, job.stage, begin.number, rank=0)
        return WarmTasks(directory, log, job.world_size, self._step)

    def end(self) -> None:
        """Have the ranks end, and wait until they have."""
        if self._step is not None:
            self._step.end()
        self._step = None

    def _new(self) -> WarmStep:
        self._number += 1
        return WarmStep(self.resources, self._log.with_name(f"{self._log.name}-{self._number}.log"))


WARM_RANK = ("espnet3.launcher.rank.entry", "espnet3.launcher.rank.warm_rank")
