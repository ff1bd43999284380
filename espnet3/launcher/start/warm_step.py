"""The batch process's handle of a step of warm ranks, which run one attempt after the other."""

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Protocol

from espnet3.launcher.planning.plan import Job
from espnet3.launcher.rank.warm_rank import WarmRankRequest
from espnet3.launcher.start.forks import Forks
from espnet3.launcher.start.step import start_srun, start_step
from espnet3.launcher.start.tasks import RunningTasks, last_lines, task_environment
from espnet3.resources import Resources
from espnet3.rundir.layout import log_path
from espnet3.rundir.records.attempt import Begin
from espnet3.slurm.srun import start_error, warm_command
from espnet3.slurm.step import allocated_nodes
from espnet3.stage_table import STAGES

_KILLED_WITHIN_S = 2.0


class WarmStep(Forks):
    """An srun whose warm ranks outlive attempts, and report the exit of each rank under its number."""

    def __init__(self, resources: Resources, log: Path) -> None:
        nodes = allocated_nodes()[: resources.nodes]
        environment = {key: value for key, value in os.environ.items() if key != "ESPNET3_JOB"}
        with log.open("ab") as messages:
            srun = start_srun(
                warm_command(resources, log.stem, nodes, WARM_RANK),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=messages,
                bufsize=0,
                # Libraries read these when they are loaded.
                env=environment | task_environment(resources),
            )
        super().__init__(srun, srun.stdin, srun.stdout, log)

    def start(self, request: WarmRankRequest) -> None:
        """Have the ranks that are alive run an attempt."""
        self.exits = {}
        self.write(request.line())

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to all tasks of the attempt that are alive."""
        self.write(WarmRankRequest(signal=number).line())


class RankForks(Protocol):
    """The forks of one attempt, as `WarmTasks` uses them."""

    exits: dict[int, int]
    """Rank -> exit code of those that have ended; negative for a signal."""
    log: Path

    def is_alive(self) -> bool:
        """Whether the process whose forks they are runs."""

    def read_exits(self) -> None:
        """Bring `exits` up to date."""

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to all that are alive."""

    def end(self) -> None:
        """End that process, and wait until it has ended."""


class WarmTasks:
    """The tasks of one attempt, below warm processes."""

    def __init__(self, directory: Path, log: Path, world_size: int, step: RankForks) -> None:
        self.directory, self.log, self.world_size = directory, log, world_size
        self._step = step

    def is_running(self) -> bool:
        """Whether a task is alive, and the step."""
        self._step.read_exits()
        return len(self._step.exits) < self.world_size and self._step.is_alive()

    def ask_to_stop(self) -> None:
        """Ask every task to save and end."""
        self._step.send_signal(signal.SIGUSR1)

    def lost_ranks(self) -> set[int]:
        """The ranks that a signal has ended."""
        return {rank for rank, code in self._step.exits.items() if code < 0}

    def end_now(self) -> set[int]:
        """Kill every task that is alive; the ranks that it ended."""
        self._step.read_exits()
        before = set(self._step.exits)
        self._step.send_signal(signal.SIGKILL)
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
        early_log = self.directory / f"early-{rank}.log"
        return last_lines([path for path in (early_log, self._step.log) if path.is_file()])

    def start_error(self) -> str:
        """A wrong program or option, by what srun says."""
        return start_error(self.early_output(0))


class WarmSteps:
    """Starts attempts as `start_step` does, but in a warm step, which outlives attempts.

    A step whose ranks were killed, or without room for an attempt, is replaced by a new one.
    """

    def __init__(self, log: Path, resources: Resources | None = None) -> None:
        """Start the first step, whose ranks import at once; without `resources`, the first training does.

        Args:
            log: prefix of the steps' log files.
            resources: of the first step.
        """
        self._log, self._number = log, 0
        self._resources = resources
        self._step = None if resources is None else self._new(resources)

    def start(self, job: Job, exp_dir: Path, directory: Path, begin: Begin) -> RunningTasks:
        """Start the tasks of an attempt that `directory` describes; returns at once."""
        has_room = self._resources is not None and job.resources.fits_into(self._resources)
        if not has_room:
            self.end()
            if not STAGES[job.stage].trains:
                return start_step(job, exp_dir, directory, begin)
            self._resources = job.resources
        if self._step is None or not self._step.is_alive():
            assert self._resources is not None
            self._step = self._new(self._resources)
        need = job.resources
        self._step.start(WarmRankRequest(str(directory), need.nodes, need.tasks_per_node, need.gpus_per_node))
        log = log_path(exp_dir, job.stage, begin.number, rank=0)
        return WarmTasks(directory, log, job.world_size, self._step)

    def end(self) -> None:
        """Have the ranks end, and wait until they have."""
        if self._step is not None:
            self._step.end()
        self._step = None

    def _new(self, resources: Resources) -> WarmStep:
        self._number += 1
        return WarmStep(resources, self._log.with_name(f"{self._log.name}-{self._number}.log"))


WARM_RANK = ("espnet3.launcher.rank.entry", "espnet3.launcher.rank.warm_rank")
