"""One trial in its own process, a fork of the warm one if it runs on this machine."""

import argparse
import os
import signal
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from subprocess import DEVNULL, STDOUT, Popen
from typing import Any, NoReturn, Protocol

from espnet3.errors import UserError, message_line
from espnet3.launcher.attempt.run_stage import RunOptions
from espnet3.launcher.attempt.run_stages import run_in_turn
from espnet3.launcher.planning.claims import hold_directory
from espnet3.launcher.planning.plan import plan
from espnet3.launcher.rank.interrupts import StopSignals, block
from espnet3.launcher.rank.warm.warm_process import ForkRequest
from espnet3.launcher.start.warm_process import warm_process
from espnet3.outcomes.exit_code import exit_code
from espnet3.parent_death import signal_on_parent_death
from espnet3.resources import Resources
from espnet3.slurm.allocation import read_allocation
from espnet3.sweep.trials.folder import trial_dir
from espnet3.sweep.trials.trial import read_trial, trial_config
from espnet3.terminal.output import keep_output
from espnet3.terminal.screen import Screen


def trial_log(sweep: Path, name: str) -> Path:
    """The log of a trial's process, apart from the logs of its stages."""
    return trial_dir(sweep, name) / "logs" / "sweep.log"


_IMPORTS = ("torch.utils.tensorboard", "soundfile")
"""What most trainings import, too."""


class TrialProcess(Protocol):
    """The process of a trial."""

    def poll(self) -> int | None:
        """Its exit code, once it has ended; negative for a signal."""

    def ask_to_stop(self) -> None:
        """Have it save and end."""

    def kill(self) -> None:
        """Kill it with its tasks, and wait until it is gone."""


def start_trial(
    sweep: Path, name: str, stages: list[str], *, force: bool, command: str, resources: Resources | None
) -> TrialProcess:
    """Start a trial's stages; returns at once.

    It is asked to stop, and saves, when this process ends.

    Args:
        sweep: its directory.
        name: the trial.
        stages: which to run.
        force: run finished stages again.
        command: the command line, for the records.
        resources: with which its ranks run on this machine; None if they run elsewhere, for which the trial
            imports little.
    """
    log = trial_log(sweep, name)
    log.parent.mkdir(parents=True, exist_ok=True)
    arguments = [str(sweep), name, "--stages", *stages, "--command", command, *(["--force"] if force else [])]
    return _Fresh(arguments, log) if resources is None else _Fork(arguments, log, resources)


class _Fork:
    """A trial that is a fork of the warm process: it has imported already what its ranks need."""

    def __init__(self, arguments: list[str], log: Path, resources: Resources) -> None:
        self._warm = warm_process(resources)
        (self._number,) = self._warm.fork(
            ForkRequest(
                f"{__name__}.main",
                arguments=[arguments],
                output=[str(log)],
                environment=dict(os.environ),
                folder=str(Path.cwd()),
                needs_torch=True,
                imports=_IMPORTS,
                death_signal=signal.SIGTERM,
            )
        )

    def poll(self) -> int | None:
        is_alive = self._warm.is_alive()
        self._warm.read_exits()
        return self._warm.exits.get(self._number, None if is_alive else -signal.SIGKILL)

    def ask_to_stop(self) -> None:
        self._warm.send_signal(self._number, signal.SIGTERM)

    def kill(self) -> None:
        self._warm.send_signal(self._number, signal.SIGKILL)
        while self.poll() is None:
            time.sleep(0.01)


class _Fresh:
    """A trial that is a process of its own."""

    def __init__(self, arguments: list[str], log: Path) -> None:
        def before_exec() -> None:
            block()  # until it handles signals
            signal_on_parent_death(signal.SIGTERM, parent)

        parent = os.getpid()
        with log.open("ab") as output:
            self._process = Popen(
                [sys.executable, "-u", "-m", __name__, *arguments],
                stdin=DEVNULL,
                stdout=output,
                stderr=STDOUT,
                start_new_session=True,  # Ctrl-C on the terminal is for the sweep, which passes it on
                preexec_fn=before_exec,
            )

    def poll(self) -> int | None:
        return self._process.poll()

    def ask_to_stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def main(*arguments: str) -> NoReturn:
    """Run the trial; exits with the code of its outcome."""
    keep_output()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sweep", type=Path)
    parser.add_argument("name")
    parser.add_argument("--stages", nargs="+", required=True)
    parser.add_argument("--command", required=True)
    parser.add_argument("--force", action="store_true")
    options = parser.parse_args(arguments)
    try:
        with StopSignals(second_ctrl_c_raises=False):
            sys.exit(_run(options))
    except UserError as error:
        print(message_line(error), file=sys.stderr)
        sys.exit(2)


def _run(options: Any) -> int:
    trial = read_trial(options.sweep, options.name)
    if trial is None:
        raise UserError(f"{options.sweep} has no trial {options.name}")
    config = trial_config(options.sweep, trial)
    screen = Screen()
    run_options = RunOptions(
        screen=screen,
        command=[options.command],
        force=options.force,
        interrupts=partial(StopSignals, second_ctrl_c_raises=False),
        show_log=False,
    )
    jobs = plan(config, options.stages, read_allocation(os.environ))
    with hold_directory(Path(config.exp_dir), screen, wait=False):
        return exit_code(run_in_turn(jobs, config, run_options))


if __name__ == "__main__":
    main(*sys.argv[1:])
