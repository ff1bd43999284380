"""Have the data checked before a stage reads them, and before jobs are queued, by a process of its own."""

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from signal import SIGKILL
from typing import Any

from omegaconf import DictConfig, OmegaConf

from espnet3.config.fingerprint import data_hash, own_code
from espnet3.config.secrets import saved_text
from espnet3.errors import UserError
from espnet3.launcher.planning.claims import hold_directory
from espnet3.launcher.rank.interrupts import SecondInterrupt, StopSignals
from espnet3.parent_death import signal_on_parent_death
from espnet3.rundir.files.json_file import from_plain
from espnet3.rundir.layout import data_report
from espnet3.rundir.records.attempt import AttemptResult
from espnet3.rundir.records.data_check import (
    DataCheckResult,
    check_dir,
    data_check_path,
    imported_path,
    read_data_check,
    read_imported,
)
from espnet3.rundir.stop import StopFlag
from espnet3.stage_table import STAGES
from espnet3.terminal.screen import ProgressBar, Screen

_POLL_S = 0.1
_STOPS_WITHIN_S = 10.0


def reads_data(stage: str) -> bool:
    """Whether a stage reads what the manifests list."""
    return "manifests" in STAGES[stage].reads


def leaves_out(config: DictConfig) -> bool:
    """Whether unusable utterances are left out: then every stage needs the list that a check makes."""
    return bool(OmegaConf.select(config, "dataset.on_bad") == "skip")


def check_data(
    config: DictConfig, screen: Screen, interrupts: Callable[[], StopSignals] = StopSignals
) -> AttemptResult | None:
    """Check the data as `check_data` says, unless they were and have not changed since.

    Returns:
        `done`, or `stopped`; None after a second Ctrl-C.

    Raises:
        UserError: they can't be used; the lines that say why are on the screen.
    """
    level = check_due(config)
    if not level:
        return AttemptResult("done")
    with interrupts() as signals, _alone(check_dir(config), screen):
        if _is_checked(config, level):  # another trial has, meanwhile
            return AttemptResult("done")
        began = time.monotonic()
        try:
            result = _ask(config, level, screen, signals.stop)
        except SecondInterrupt:
            return None
    if result is None:
        return AttemptResult("stopped", signals.stop.reason or "")
    _show(result, screen)
    screen.line(f"data: {result.summary}; {level} check, {time.monotonic() - began:.1f} s")
    return AttemptResult("done")


def check_due(config: DictConfig) -> str:
    """The level of the check that the data need before a stage reads them; empty if none is needed."""
    level = str(OmegaConf.select(config, "check_data") or "full")
    if level == "off" or not OmegaConf.select(config, "dataset._target_") or _is_checked(config, level):
        return ""
    return level


def check_before_queueing(config: DictConfig, screen: Screen) -> None:
    """Check what takes seconds: imports, and the lines of manifests that exist already.

    Raises:
        UserError: something is wrong.
    """
    if OmegaConf.select(config, "check_data") == "off" or not OmegaConf.select(config, "dataset._target_"):
        return
    exist = all(Path(path).is_file() for path in config.manifests.values())
    if exist and not _is_checked(config, "quick"):
        _check_briefly(config, "manifests", screen)
    else:
        check_imports(config, screen)


def check_imports(config: DictConfig, screen: Screen) -> None:
    """Import what the configuration names, before a stage is run whose successors need it.

    Raises:
        UserError: something can't be imported.
    """
    if OmegaConf.select(config, "check_data") == "off":
        return
    if read_imported(imported_path(config)) != own_code(config):
        _check_briefly(config, "imports", screen)


def _check_briefly(config: DictConfig, level: str, screen: Screen) -> None:
    with StopSignals() as signals:
        result = _ask(config, level, screen, signals.stop)
    if result is None:
        raise KeyboardInterrupt
    _show(result, screen)


def _show(result: DataCheckResult, screen: Screen) -> None:
    for line in result.lines if result.error else ():
        screen.line(line)
    if result.error and result.more:
        screen.line(f"… and {result.more:,} more")
    if result.error:
        raise UserError(result.error)
    for line in result.remarks:
        screen.line(f"data: {line}")


def _is_checked(config: DictConfig, level: str) -> bool:
    record = read_data_check(data_check_path(config, data_hash(config, "dataset")))
    return record is not None and record.covers(level, own_code(config, "dataset"))


@contextmanager
def _alone(directory: Path, screen: Screen) -> Iterator[None]:
    """One check at a time: the next finds what this one has found; not where nothing can be written."""
    if not os.access(next(path for path in (directory, *directory.parents) if path.exists()), os.W_OK):
        yield
        return
    with hold_directory(directory, screen, wait=True):
        yield


def _ask(config: DictConfig, level: str, screen: Screen, stop: StopFlag) -> DataCheckResult | None:
    """What the checking process says; None when it was asked to stop.

    Raises:
        UserError: it has ended without an answer.
    """
    report = data_report(Path(config.exp_dir))
    roots = [str(config.recipe_dir), str(Path(config.recipe_dir).parent)]
    process = subprocess.Popen(
        [sys.executable, "-m", "espnet3.stages.check_data"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([*roots, *filter(None, [os.environ.get("PYTHONPATH")])]),
        },
        encoding="utf-8",
        errors="replace",
        start_new_session=True,  # Ctrl-C is for this process, which passes it on
        preexec_fn=partial(signal_on_parent_death, SIGKILL, os.getpid()),
    )
    request = {"config": saved_text(config), "level": level, "report": str(report)}
    answers: queue.Queue[dict[str, Any]] = queue.Queue()
    errors: list[str] = []
    readers = [
        threading.Thread(target=_read_answers, args=(process, answers), daemon=True),
        threading.Thread(target=lambda: errors.extend(process.stderr or ()), daemon=True),
    ]
    try:
        assert process.stdin is not None
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.close()
        for reader in readers:
            reader.start()
        found, stopping_since = None, None
        with ProgressBar(screen, "check of the data") as bar:
            while any(reader.is_alive() for reader in readers) or not answers.empty():
                if stop.is_set() and stopping_since is None:
                    stopping_since = time.monotonic()
                    process.terminate()
                if stopping_since is not None and time.monotonic() - stopping_since > _STOPS_WITHIN_S:
                    process.kill()
                try:
                    answer = answers.get(timeout=_POLL_S)
                except queue.Empty:
                    continue
                if "result" in answer:
                    found = from_plain(DataCheckResult, answer["result"])
                else:
                    bar.show({"unit": "utterance", **answer})
        process.wait()
    except BaseException:
        process.kill()
        process.wait()
        raise
    if found is None and not stop.is_set():
        screen.line("".join(errors).rstrip())
        raise UserError("the check of the data ended without a result; check_data=off goes on without it")
    return found


def _read_answers(process: "subprocess.Popen[str]", answers: "queue.Queue[dict[str, Any]]") -> None:
    for line in process.stdout or ():
        answers.put(json.loads(line))
