"""Start a command of espnet3 in the background: in a session of its own, its output in a file."""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from espnet3.api.command import Command
from espnet3.errors import UserError, cannot_write, short_path
from espnet3.rundir.process import ProcessName
from espnet3.rundir.records.background import Background, background_log, read_background, write_background
from espnet3.rundir.records.job import read_jobs

_started: "list[subprocess.Popen[bytes]]" = []
"""Those that this process started, until they have ended and were waited for."""


def start_in_background(directory: Path, command: Command, homes: Mapping[str, Path] | None = None) -> None:
    """Start `espnet3 run`, which goes on when this process ends.

    Args:
        directory: the run directory or the sweep.
        command: what to run.
        homes: the stages of a run, each with the directory that it fills.

    Raises:
        UserError: such a process is running for the directory, or it can't be written.
    """
    command = replace(command, detach=False)
    words = ["run", "--recipe", str(command.recipe.resolve()), *command.arguments]
    _start(directory, words, homes or {}, is_sweep=command.multirun)


def started_last(directory: Path) -> Background | None:
    """The background command that has started the run last; None where jobs were submitted since."""
    background, jobs = read_background(directory), read_jobs(directory)
    return None if background and jobs and jobs[-1].written_at > background.started_at else background


def start_again(directory: Path, ended: Background) -> None:
    """Start the command that `ended` was once more.

    Raises:
        UserError: it is still at work, or its log can't be written.
    """
    _start(directory, ended.command, ended.homes, is_sweep=ended.is_sweep)


def start_resuming(sweep: Path) -> None:
    """Start `espnet3 resume` of a sweep.

    Raises:
        UserError: a process is at work on it, or its log can't be written.
    """
    _start(sweep, ["resume", str(sweep)], {}, is_sweep=True)


def _start(directory: Path, words: Sequence[str], homes: Mapping[str, Path | str], *, is_sweep: bool) -> None:
    _started[:] = [process for process in _started if process.poll() is None]
    running = read_background(directory)
    if running is not None and running.is_alive:
        raise UserError(f"{short_path(directory)} is in use by {running.process_name}; wait for it")
    log = background_log(directory)
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "espnet3", *words],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        _started.append(process)
        write_background(
            directory,
            Background(
                process=asdict(ProcessName.of(process.pid)),
                command=list(words),
                is_sweep=is_sweep,
                homes={stage: str(home) for stage, home in homes.items()},
            ),
        )
    except OSError as error:
        raise cannot_write(error, directory) from error
