"""What runs on the node: one process (rank) of a job, from its signals to its outcome and exit code."""

import io
import logging
import os
import signal
import sys
import time
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from omegaconf import DictConfig

from espnet3.config.saved import read_config
from espnet3.config.secrets import check_secrets_set, hide_secrets
from espnet3.errors import TracedError, UserError
from espnet3.launcher.rank.interrupts import STOP_SIGNALS
from espnet3.launcher.rank.network import master_address, set_interfaces
from espnet3.launcher.rank.placement import TaskPlacement
from espnet3.launcher.rank.process_exit import exit_after
from espnet3.launcher.rank.watch.hang_watch import watch_for_hangs
from espnet3.launcher.rank.watch.watchdogs import (
    exit_if_stop_is_slow,
    hear_stop_signals,
    stop_at_time,
    stop_without_launcher,
)
from espnet3.outcomes.rank import rank_state
from espnet3.resources import Resources
from espnet3.rundir import claim
from espnet3.rundir.files.log_tail import log_only
from espnet3.rundir.files.private import check_private
from espnet3.rundir.files.reading import read_late
from espnet3.rundir.heartbeat import Heartbeat
from espnet3.rundir.layout import file_lists, heartbeat_path, log_path, stage_home
from espnet3.rundir.process import ProcessName
from espnet3.rundir.records.attempt import read_attempt
from espnet3.rundir.records.outcome import EXIT_CODES, TaskState, write_task_state
from espnet3.rundir.records.record import finish, read_record, write_record
from espnet3.rundir.stop import StopFlag
from espnet3.rundir.task import StageResult, Task
from espnet3.rundir.watch.activity import Activity
from espnet3.slurm.environment import forget_ranks
from espnet3.slurm.own_job import stop_at
from espnet3.stage_table import STAGES
from espnet3.stages import stage_function

SRUN_SIGNAL_GRACE_S = 5.0
"""How long srun, whose parent is gone, may take to pass its signal on before a task stops by itself."""

log = logging.getLogger(__name__)


def main(directory: str) -> NoReturn:
    """Run this process's rank of the attempt in `directory`; called by srun for each task."""
    exit_after(lambda: run_task(directory, TaskPlacement.in_step()))


def main_here(directory: str, rank: str, world_size: str) -> None:
    """Run rank `rank` of an attempt on this machine; called in a fork of the command's warm process."""
    run_task(directory, TaskPlacement(int(rank), int(world_size), local_rank=int(rank)))


def run_task(attempt: str, placement: TaskPlacement) -> None:
    """Run one rank of the attempt that is described in the directory `attempt`.

    Args:
        attempt: directory with `begin.json` and `config.yaml`.
        placement: which rank.

    Raises:
        SystemExit: with the exit code of the outcome, unless it is `done`.
    """
    directory = Path(attempt)
    try:
        check_private(directory)
    except UserError as error:
        raise SystemExit(f"espnet3: {error}") from error
    read_late((directory / "config.yaml").exists, directory)  # written last
    described = read_attempt(directory)
    assert described is not None, f"{directory} describes no attempt"
    begin = described.begin
    config = read_config(directory / "config.yaml")
    stop = StopFlag()
    install_stop_signals(stop)
    watched = _watched(config, begin.stage, directory, placement)
    hear_stop_signals(stop)
    exp_dir = Path(config.exp_dir)
    output = log_path(exp_dir, begin.stage, begin.number, placement.rank)
    redirect_output(output)
    configure_logging(placement.rank)
    forget_ranks(os.environ)
    os.environ.update(begin.environment)
    os.environ.setdefault("ESPNET3_JOB", begin.job or directory.name)  # for commands inside
    if placement.world_size > 1:
        master = master_address(begin.environment, placement.num_nodes)
        set_interfaces(master, placement.num_nodes)
        os.environ.update(
            RANK=str(placement.rank),
            LOCAL_RANK=str(placement.local_rank),
            NODE_RANK=str(placement.node_rank),
            WORLD_SIZE=str(placement.world_size),
            LOCAL_WORLD_SIZE=str(placement.world_size // placement.num_nodes),
            MASTER_ADDR=master,
        )
    task = Task(
        stage=begin.stage,
        rank=placement.rank,
        world_size=placement.world_size,
        local_rank=placement.local_rank,
        num_nodes=placement.num_nodes,
        stop=stop,
        heartbeat=Heartbeat(heartbeat_path(directory, placement.rank)),
        **watched,
    )
    if begin.slurm_job_id:
        _wait_for_inputs(config, task.stage)
    homes = {exp_dir.resolve(), stage_home(config, task.stage)}
    for home in homes:
        claim.join(home, f"rank-{task.rank}")
    state = TaskState(task.rank, asdict(ProcessName.own()), str(output), node=placement.node)
    write_task_state(directory, state)
    if described.launcher.is_here:
        stop_without_launcher(described.launcher, stop, SRUN_SIGNAL_GRACE_S if begin.slurm_job_id else 0.0)
    if begin.stop_at is not None:
        delay_s = Resources.of(config, begin.stage).signal_delay_s
        stop_at_time(begin.stop_at, stop, partial(stop_at, delay_s))
    if begin.stop_within_s:
        exit_if_stop_is_slow(begin.stop_within_s, stop, directory, state)
    state = run_stage(config, task, state)
    write_task_state(directory, state)
    for home in homes:
        claim.leave(home, f"rank-{task.rank}")
    sys.stdout.flush()
    sys.stderr.flush()
    if state.outcome != "done":
        raise SystemExit(EXIT_CODES[state.outcome or "killed"])


def _watched(config: DictConfig, stage: str, directory: Path, placement: TaskPlacement) -> dict[str, Any]:
    """Start the watcher of a training; the fields of the task that are for it. Before there are threads."""
    timeout_s = config.trainer.get("hang_timeout_s", "auto") if STAGES[stage].trains else None
    if timeout_s is None:
        return {}
    activity = Activity()
    timeout_s = None if timeout_s == "auto" else float(timeout_s)
    tell = watch_for_hangs(activity, directory, placement.rank, placement.node, timeout_s)
    return {"activity": activity, "tell_collectives": tell}


def _wait_for_inputs(config: DictConfig, stage: str) -> None:
    """Wait for the files that the first node saw when it started the stage, such as manifests."""
    home, root = stage_home(config, stage), Path(config.recipe_dir)
    record = read_record(home, stage)
    for path in [root / name for name in record.files] if record else ():
        read_late(path.exists, path.parent)


def run_stage(config: DictConfig, task: Task, started_state: TaskState) -> TaskState:
    """Call the stage function and turn its end into an outcome; rank 0 of a finished stage records it."""
    add_recipe_to_path(Path(config.recipe_dir))
    started = time.monotonic()
    try:
        check_secrets_set(config, os.environ)
        result = stage_function(task.stage)(config, task)
        if task.rank == 0:
            _record(config, task.stage, result, time.monotonic() - started)
        return rank_state(started_state, None, now=time.time())
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # every error must become an outcome: other ranks wait for it
        state = rank_state(
            started_state, error, now=time.time(), world_size=task.world_size, asked_by=task.stop.reason or ""
        )
        if isinstance(error, TracedError) and error.trace:
            print(log_only(hide_secrets(error.trace, os.environ)), file=sys.stderr)
    _log_error(task.stage, state)
    message, trace = (hide_secrets(text, os.environ) for text in (state.message, state.traceback))
    return replace(state, message=message, traceback=trace)


def _log_error(stage: str, state: TaskState) -> None:
    if state.peer_lost:  # the traceback does not show the cause; the state has it
        log.error("%s ends: another rank is gone\n%s", stage, log_only(state.message))
    elif state.traceback:
        log.error("%s failed\n%s", stage, state.traceback.rstrip())
    elif state.outcome == "failed":
        log.error("%s", state.message)


def _record(config: DictConfig, stage: str, result: StageResult, seconds: float) -> None:
    home = stage_home(config, stage)
    started = read_record(home, stage)
    assert started is not None, f"{stage} was started without a record in {home}"
    root = Path(config.recipe_dir)
    finished = finish(
        started,
        result,
        seconds,
        root=root,
        file_lists=file_lists(config),
        owns_outputs=STAGES[stage].owns_outputs,
    )
    write_record(home, stage, finished)


def install_stop_signals(stop: StopFlag, *, second_signal_raises: bool = False) -> None:
    """Have signals set the flag, which the stage checks when it can save; unblocks blocked signals.

    With `second_signal_raises` a second one raises KeyboardInterrupt.
    """

    def handler(number: int, frame: object) -> None:
        if second_signal_raises and stop.is_set():
            raise KeyboardInterrupt
        stop.set(signal.Signals(number).name)

    for number in STOP_SIGNALS:
        signal.signal(number, handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)


def redirect_output(path: Path) -> None:
    """Redirect this process's standard output and error to `path`, including those of C libraries.

    The log is UTF-8 whatever the locale: what a recipe prints must not end its training.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")


class _HideSecrets(logging.Formatter):
    """Removes secrets from log lines, such as those in the error of a library."""

    def format(self, record: logging.LogRecord) -> str:
        return hide_secrets(super().format(record), os.environ)


def configure_logging(rank: int) -> None:
    """Time-stamped lines on standard error, from INFO on rank 0 and from WARNING elsewhere."""
    handler = logging.StreamHandler()
    handler.setFormatter(_HideSecrets("%(asctime)s %(levelname)s %(message)s", datefmt="%Y-%m-%d %H:%M:%S"))
    logging.basicConfig(level=logging.INFO if rank == 0 else logging.WARNING, handlers=[handler], force=True)
    logging.captureWarnings(True)


def add_recipe_to_path(recipe_dir: Path) -> None:
    """Make modules of the recipe, then of its corpus, importable; worker processes inherit it."""
    roots = [str(recipe_dir), str(recipe_dir.parent)]
    sys.path[:0] = [root for root in roots if root not in sys.path]
    os.environ["PYTHONPATH"] = os.pathsep.join([*roots, *filter(None, [os.environ.get("PYTHONPATH")])])
