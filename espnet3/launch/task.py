"""What runs on the node: one process (rank) of a job, from its signals to its outcome and exit code."""

import logging
import os
import signal
import sys
import threading
import time
import traceback
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from espnet3.errors import UserError
from espnet3.rundir import claim
from espnet3.rundir.heartbeat import Heartbeat
from espnet3.rundir.layout import heartbeat_path, log_path, stage_home
from espnet3.rundir.outcome import EXIT_CODES, TaskState, write_state
from espnet3.rundir.process import ProcessName
from espnet3.rundir.record import finish, read_record, write_record
from espnet3.rundir.stop import StopFlag, Stopped
from espnet3.rundir.task import StageResult, Task
from espnet3.stages import stage_function

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP)
ORPHAN_GRACE_S = 20.0
"""How long a task whose command is gone may take to save before it ends itself."""

log = logging.getLogger(__name__)


def run_task(job: str, environment: dict[str, str]) -> None:
    """Run this process's rank of the job described in the directory `job`; called by submitit.

    Args:
        job: directory with `job.yaml` (stage, attempt, world size, launching process) and `config.yaml`.
        environment: variables that every task of the job gets.

    Raises:
        SystemExit: with the exit code of the outcome, unless it is `done`.
    """
    from submitit import JobEnvironment

    job_dir = Path(job)
    description = OmegaConf.load(job_dir / "job.yaml")
    config = OmegaConf.load(job_dir / "config.yaml")
    assert isinstance(config, DictConfig)
    OmegaConf.set_struct(config, True)
    where = JobEnvironment()
    stop = StopFlag()
    install_stop_signals(stop)  # replaces submitit's handlers
    output = log_path(Path(config.exp_dir), description.stage, description.attempt, where.global_rank)
    redirect_output(output)
    configure_logging(where.global_rank)
    os.environ.update(environment)
    if where.num_tasks > 1:
        os.environ.update(
            RANK=str(where.global_rank),
            LOCAL_RANK=str(where.local_rank),
            NODE_RANK=str(where.node),
            WORLD_SIZE=str(where.num_tasks),
            LOCAL_WORLD_SIZE=str(where.num_tasks // where.num_nodes),
        )
    task = Task(
        stage=description.stage,
        rank=where.global_rank,
        world_size=where.num_tasks,
        local_rank=where.local_rank,
        num_nodes=where.num_nodes,
        stop=stop,
        heartbeat=Heartbeat(heartbeat_path(job_dir, where.global_rank)),
    )
    claim.join(Path(config.exp_dir), f"rank-{task.rank}")
    if stage_home(config, task.stage) != Path(config.exp_dir).resolve():
        claim.join(stage_home(config, task.stage), f"rank-{task.rank}")
    end_with(ProcessName(**description.launched_by), stop)
    state = TaskState(task.rank, asdict(ProcessName.own()), str(output))
    write_state(job_dir, state)
    state = run_stage(config, task, state)
    write_state(job_dir, state)
    sys.stdout.flush()
    sys.stderr.flush()
    if state.outcome != "done":
        raise SystemExit(EXIT_CODES[state.outcome or "killed"])


def run_stage(config: DictConfig, task: Task, state: TaskState) -> TaskState:
    """Call the stage function; whatever happens becomes an outcome. Rank 0 of a finished stage records it."""
    add_recipe_to_path(Path(config.recipe_dir))
    started = time.monotonic()
    try:
        result = stage_function(task.stage)(config, task)
        if task.rank == 0:
            _record(config, task.stage, result, time.monotonic() - started)
        ending: dict[str, Any] = {"outcome": "done"}
    except Stopped as stopped:
        ending = {"outcome": "stopped", "message": str(stopped) or task.stop.reason or ""}
    except UserError as error:
        log.error("%s", error)
        ending = {"outcome": "failed", "message": str(error)}
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # anything at all must become an outcome: others wait for it
        log.error("%s failed\n%s", task.stage, traceback.format_exc().rstrip())
        message = f"{type(error).__name__}: {error}".splitlines()[0]
        ending = {"outcome": "failed", "message": message, "traceback": traceback.format_exc()}
        ending["ended_at"] = getattr(error, "raised_at", time.time())
    return replace(state, **{"ended_at": time.time(), **ending})


def _record(config: DictConfig, stage: str, result: StageResult, seconds: float) -> None:
    home = stage_home(config, stage)
    started = read_record(home, stage)
    assert started is not None, f"{stage} was started without a record in {home}"
    write_record(home, stage, finish(started, result, seconds, Path(config.recipe_dir)))


def install_stop_signals(stop: StopFlag, *, insistent: bool = False) -> None:
    """A signal only sets the flag; the stage looks at it when it can save.

    With `insistent` a second one raises KeyboardInterrupt.
    """

    def handler(number: int, frame: object) -> None:
        if insistent and stop.is_set():
            raise KeyboardInterrupt
        stop.set(signal.Signals(number).name)

    for number in STOP_SIGNALS:
        signal.signal(number, handler)


def redirect_output(path: Path) -> None:
    """Send this process's standard output and error to `path`, that of C libraries too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)


def configure_logging(rank: int) -> None:
    """Time-stamped lines on standard error, from INFO on rank 0 and from WARNING elsewhere."""
    logging.basicConfig(
        level=logging.INFO if rank == 0 else logging.WARNING,
        format="%(asctime)s %(levelname)s %(message)s",
        datefmt="%Y-%m-%d %H:%M:%S",
        force=True,
    )
    logging.captureWarnings(True)
    submitit_log = logging.getLogger("submitit")  # says that it loads a pickle, and that it is done
    submitit_log.setLevel(logging.ERROR)
    submitit_log.handlers.clear()


def add_recipe_to_path(recipe_dir: Path) -> None:
    """Make the recipe's own modules importable, then those its corpus's recipes share; workers inherit it."""
    roots = [str(recipe_dir), str(recipe_dir.parent)]
    sys.path[:0] = [root for root in roots if root not in sys.path]
    os.environ["PYTHONPATH"] = os.pathsep.join([*roots, *filter(None, [os.environ.get("PYTHONPATH")])])


def end_with(launcher: ProcessName, stop: StopFlag) -> None:
    """Watch the launching process: when it is gone, ask the stage to stop, and end anyway after a grace."""

    def watch() -> None:
        while launcher.is_alive():
            time.sleep(0.5)
        stop.set("the command that started it is gone")
        time.sleep(ORPHAN_GRACE_S)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="watch-launcher", daemon=True).start()
