"""The batch process's handle of a step of warm ranks, which run one attempt after the other."""

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from espnet3.launcher.planning.plan import Job
from espnet3.launcher.rank.warm.warm_rank import WarmRankRequest
from espnet3.launcher.start.forks import Forks
from espnet3.launcher.start.step import start_srun, start_step
from espnet3.launcher.start.tasks import RunningTasks, last_lines, task_environment
from espnet3.number_text import signal_name
from espnet3.resources import Resources
from espnet3.rundir.layout import log_path
from espnet3.rundir.records.attempt import Begin
from espnet3.slurm.restarting.nodes import answering
from espnet3.slurm.srun import start_error, warm_command
from espnet3.slurm.step import allocated_nodes
from espnet3.stage_table import STAGES

_KILLED_WITHIN_S = 2.0


class WarmStep(Forks):
    """An srun whose warm ranks outlive attempts, and report the exit of each rank under its number."""

    def __init__(self, resources: Resources, nodes: Sequence[str], log: Path) -> None:
        """Start it on the first of `nodes`."""
        self.nodes = list(nodes)[: resources.nodes]
        self.outlives_nodes = resources.outlives_nodes
        environment = {key: value for key, value in os.environ.items() if key != "ESPNET3_JOB"}
        with log.open("ab") as messages:
            srun = start_srun(
                warm_command(resources, log.stem, self.nodes, WARM_RANK),
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

    def lose(self) -> None:
        """End it without waiting for the ranks on a dead node, which srun does until Slurm misses it."""
        self.close()  # the others end by this
        self._process.kill()
        self._process.wait()


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

    def lost_ranks(self) -> dict[int, str]:
        """The ranks that a signal has ended, and which."""
        return {rank: signal_name(-code) for rank, code in self._step.exits.items() if code < 0}

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


class WarmStepTasks(WarmTasks):
    """The tasks of an attempt in a step, whose nodes may die."""

    def __init__(self, directory: Path, log: Path, begin: Begin, step: WarmStep) -> None:
        super().__init__(directory, log, begin.world_size, step)
        self._warm_step, self._nodes = step, begin.nodes
        self._on_dead_nodes: set[int] = set()

    def lost_ranks(self) -> dict[int, str]:
        """The ranks that a signal, or the death of their node, has ended."""
        return super().lost_ranks() | dict.fromkeys(self._on_dead_nodes, "the death of its node")

    def end_now(self) -> set[int]:
        """Kill every task that is alive; the ranks that it ended."""
        ended = super().end_now()
        if self.is_running() and self._warm_step.outlives_nodes:
            self._leave_dead_nodes()
        return ended

    def _leave_dead_nodes(self) -> None:
        """Go on without ranks that no longer end as their node is dead."""
        alive, count = answering(self._nodes), len(self._nodes)
        node_of = {rank: self._nodes[rank * count // self.world_size] for rank in range(self.world_size)}
        gone = {rank for rank, node in node_of.items() if node not in alive} - set(self._step.exits)
        if gone and set(self._step.exits) | gone == set(node_of):
            self._on_dead_nodes = gone
            self._warm_step.lose()


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
        self._step = None if resources is None else self._new(resources, allocated_nodes())

    def start(self, job: Job, exp_dir: Path, directory: Path, begin: Begin) -> RunningTasks:
        """Start the tasks of an attempt that `directory` describes; returns at once."""
        has_room = self._resources is not None and job.resources.fits_into(self._resources)
        if self._step is not None and self._step.nodes[: len(begin.nodes)] != begin.nodes:
            has_room = False  # another node has taken the place of one
        if not has_room:
            self.end()
            if not STAGES[job.stage].trains:
                return start_step(job, exp_dir, directory, begin)
            self._resources = job.resources
        if self._step is None or not self._step.is_alive():
            self._step = self._renewed(job.resources, begin.nodes)
        need = job.resources
        self._step.start(WarmRankRequest(str(directory), need.nodes, need.tasks_per_node, need.gpus_per_node))
        log = log_path(exp_dir, job.stage, begin.number, rank=0)
        return WarmStepTasks(directory, log, begin, self._step)

    def _renewed(self, needed: Resources, nodes: list[str]) -> WarmStep:
        """A new step in the place of one that has ended, as large if enough nodes are left."""
        assert self._resources is not None
        if len(nodes) < self._resources.nodes:
            nodes = nodes + answering([node for node in allocated_nodes() if node not in nodes])
        if len(nodes) < self._resources.nodes:
            self._resources = needed
        return self._new(self._resources, nodes)

    def end(self) -> None:
        """Have the ranks end, and wait until they have."""
        if self._step is not None:
            self._step.end()
        self._step = None

    def _new(self, resources: Resources, nodes: Sequence[str]) -> WarmStep:
        self._number += 1
        return WarmStep(resources, nodes, self._log.with_name(f"{self._log.name}-{self._number}.log"))


WARM_RANK = ("espnet3.launcher.rank.entry", "espnet3.launcher.rank.warm.warm_rank")
