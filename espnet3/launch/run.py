"""Run stages one after the other on this machine: claim, decide, start, follow, tell."""

import os
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from omegaconf import DictConfig, OmegaConf

from espnet3.errors import UserError, short_path
from espnet3.launch.decide import Decision, check_inputs, check_model_unchanged, decide, new_record
from espnet3.launch.follow import follow, kill
from espnet3.launch.plan import Job
from espnet3.launch.screen import Screen
from espnet3.launch.submit import LocalJob, submit_local
from espnet3.rundir import claim
from espnet3.rundir.atomic import write_json, write_text
from espnet3.rundir.layout import new_attempt, stage_home
from espnet3.rundir.outcome import EXIT_CODES, Outcome
from espnet3.rundir.provenance import provenance
from espnet3.rundir.record import read_record, write_record
from espnet3.rundir.stop import StopFlag
from espnet3.stages import label

KEPT_IN_PLACE = ("claim", "logs", "jobs")
"""What stays when an old training is moved aside."""
_ORPHANS_END_S = 60.0


Ending = Outcome | Literal["interrupted"]
"""How a stage ended here; "interrupted" by a second Ctrl-C."""


class Interrupted(Exception):
    """A second Ctrl-C: end at once."""


def run_jobs(
    jobs: Sequence[Job], config: DictConfig, *, force: bool, command: list[str], screen: Screen
) -> int:
    """Run `jobs` in order until one does not end as `done`; returns the exit code.

    Raises:
        UserError: for what can be known before anything is started: a training with another
            configuration, a missing input, a run directory that is held or can't be written.
    """
    exp_dir = Path(config.exp_dir)
    stages = [job.stage for job in jobs]
    check_inputs(config, stages)
    if "train" in stages:
        decide(config, "train", force=force)
    elif "validate" in stages:
        check_model_unchanged(config)
    with _held(exp_dir, screen, wait=False):
        metrics: dict[str, object] = {}
        for job in jobs:
            home = stage_home(config, job.stage)
            shared = home != exp_dir.resolve()
            with _held(home, screen, wait=True) if shared else _nothing():
                outcome = _run_job(job, config, force, command, screen)
                record = read_record(home, job.stage)
            if outcome == "interrupted":
                return 130
            if outcome != "done":
                return EXIT_CODES[outcome]
            metrics = record.metrics if record else {}
    if metrics:
        screen.metrics(f"metrics of {short_path(exp_dir)}", metrics)
    return 0


def _run_job(job: Job, config: DictConfig, force: bool, command: list[str], screen: Screen) -> Ending:
    """One stage: skipped, or run to an outcome, with a line at its end; "interrupted" by a second Ctrl-C."""
    home, name = stage_home(config, job.stage), label(job.stage)
    decision = decide(config, job.stage, force=force)
    record = read_record(home, job.stage)
    if decision.action == "skip" and record is not None:
        screen.line(f"{name}: skipped, unchanged since it was done: {record.summary}")
        return "done"
    _say_why(name, decision, screen)
    if decision.action == "anew":
        screen.line(f"{name}: the old training is now in {short_path(move_aside(home))}")
    _start_record(job, config, decision, command)
    attempt = new_attempt(Path(config.exp_dir), job.stage)
    started = time.monotonic()
    outcome = _debug(job, config) if job.launcher == "debug" else _local(job, config, attempt, screen)
    seconds = time.monotonic() - started
    record = read_record(home, job.stage)
    if outcome == "done" and record is not None:
        screen.line(f"{name}: {record.summary} in {short_path(record.where)}, {seconds:.1f} s")
    elif outcome == "stopped":
        screen.line(f"{name}: stopped after {seconds:.1f} s; the same command continues it")
    elif outcome == "interrupted":
        screen.line(f"{name}: ended at once after {seconds:.1f} s; the same command continues it")
    else:
        logs = Path(config.exp_dir) / "logs" / job.stage / f"attempt-{attempt}"
        screen.line(f"{name}: {outcome} after {seconds:.1f} s, logs are in {short_path(str(logs))}")
    return outcome


def _local(job: Job, config: DictConfig, attempt: int, screen: Screen) -> Ending:
    stop = StopFlag()
    running: list[LocalJob] = []
    with _interrupts(stop, screen):
        try:
            running.append(submit_local(job, config, attempt))
            return follow(running[0], label(job.stage), stop, screen)
        except Interrupted:
            kill(running[0])
            return "interrupted"
        except BaseException:
            for submitted in running:
                kill(submitted)
            raise


def _debug(job: Job, config: DictConfig) -> Outcome:
    """Run the stage in this process; its output is the command's own."""
    from espnet3.launch.task import configure_logging, install_stop_signals, run_stage
    from espnet3.rundir.outcome import TaskState
    from espnet3.rundir.task import Task

    task = Task.alone(job.stage)
    install_stop_signals(task.stop, insistent=True)
    configure_logging(rank=0)
    return run_stage(config, task, TaskState(rank=0, process={}, log="")).outcome or "failed"


def _start_record(job: Job, config: DictConfig, decision: Decision, command: list[str]) -> None:
    """Before a stage starts: what it is made from, and for a training its configuration and origin."""
    home = stage_home(config, job.stage)
    record = new_record(config, job.stage)
    if decision.action == "continue":
        # A finished training that is asked for more is unfinished again; what it read stays known.
        old = read_record(home, job.stage)
        record.files = (old.files if old else {}) | record.files
    write_record(home, job.stage, record)
    if job.stage == "train":
        write_text(home / "config.yaml", OmegaConf.to_yaml(config, resolve=True))
        write_json(home / "run.json", provenance(command, Path(config.recipe_dir)))


def _say_why(name: str, decision: Decision, screen: Screen) -> None:
    reason = f": {decision.reason}" if decision.reason else ""
    verb = {"run": "runs again" if reason else "starts", "continue": "continues", "anew": "starts anew"}
    screen.line(f"{name} {verb[decision.action]}{reason}")


def move_aside(exp_dir: Path) -> Path:
    """Move an old training out of `exp_dir` into a new folder beside it, and return that."""
    number = 1
    while (old := exp_dir.with_name(f"{exp_dir.name}.old-{number}")).exists():
        number += 1
    old.mkdir()
    for path in exp_dir.iterdir():
        if path.name not in KEPT_IN_PLACE:
            shutil.move(path, old / path.name)
    return old


@contextmanager
def _held(directory: Path, screen: Screen, *, wait: bool) -> Iterator[None]:
    """Hold `directory`: a shared one is waited for, the run directory is not.

    Raises:
        UserError: when somebody else holds the run directory, or it can't be written.
    """
    told = ""
    deadline = time.monotonic() + _ORPHANS_END_S
    while True:
        context = claim.hold(directory)
        try:
            context.__enter__()
            break
        except claim.HeldError as error:
            if not wait and not (error.orphaned and time.monotonic() < deadline):
                raise UserError(
                    f"{error}; wait for it, or give tag=NAME for a run directory of its own"
                ) from error
            if str(error) != told:
                told = str(error)
                screen.line(f"waiting: {told}")
            time.sleep(0.2)
        except OSError as error:
            raise UserError(f"can't write {error.filename or directory}: {error.strerror}") from error
    try:
        yield
    finally:
        context.__exit__(None, None, None)


@contextmanager
def _nothing() -> Iterator[None]:
    yield


@contextmanager
def _interrupts(stop: StopFlag, screen: Screen) -> Iterator[None]:
    """The first Ctrl-C (or SIGTERM, or a closed terminal) sets `stop`; the second raises Interrupted."""

    def handler(number: int, frame: object) -> None:
        if stop.is_set():
            raise Interrupted
        stop.set(signal.Signals(number).name)
        os.write(2, b"\nstopping: the stage saves and ends; once more to end at once\n")

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, handler) for number in numbers]
    try:
        yield
    finally:
        for number, old in zip(numbers, before, strict=True):
            signal.signal(number, old)
