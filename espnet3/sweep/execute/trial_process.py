"""One trial in its own process, on this machine or in the current allocation."""

import argparse
import os
import signal
import sys
from pathlib import Path
from subprocess import DEVNULL, STDOUT, Popen
from typing import Any

from espnet3.errors import UserError, message_line
from espnet3.launcher.rank.interrupts import StopSignals, block
from espnet3.parent_death import signal_on_parent_death
from espnet3.sweep.trials.folder import trial_dir
from espnet3.terminal.output import keep_output


def trial_log(sweep: Path, name: str) -> Path:
    """The log of a trial's process, apart from the logs of its stages."""
    return trial_dir(sweep, name) / "logs" / "sweep.log"


def start_trial(sweep: Path, name: str, stages: list[str], *, force: bool, command: str) -> "Popen[bytes]":
    """Start a trial's stages; returns at once.

    It is asked to stop, and saves, when this process ends.
    """
    log = trial_log(sweep, name)
    log.parent.mkdir(parents=True, exist_ok=True)
    arguments = [str(sweep), name, "--stages", *stages, "--command", command, *(["--force"] if force else [])]
    with log.open("ab") as output:
        return Popen(
            [
                sys.executable,
                "-u",
                "-m",
                "espnet3.sweep.execute.trial_process",
                *arguments,
                "--parent",
                str(os.getpid()),
            ],
            stdin=DEVNULL,
            stdout=output,
            stderr=STDOUT,
            start_new_session=True,  # Ctrl-C on the terminal is for the sweep, which passes it on
            preexec_fn=block,  # until it handles signals
        )


def main(arguments: list[str]) -> int:
    """Run the trial; returns the exit code of its outcome."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sweep", type=Path)
    parser.add_argument("name")
    parser.add_argument("--stages", nargs="+", required=True)
    parser.add_argument("--command", required=True)
    parser.add_argument("--force", action="store_true")
    parser.add_argument("--parent", type=int, required=True)
    options = parser.parse_args(arguments)
    signal_on_parent_death(signal.SIGTERM, options.parent)
    try:
        with StopSignals(second_ctrl_c_raises=False):
            return _run(options)
    except UserError as error:
        print(message_line(error), file=sys.stderr)
        return 2


def _run(options: Any) -> int:
    from functools import partial

    from espnet3.launcher.attempt.run_stage import RunOptions
    from espnet3.launcher.attempt.run_stages import run_in_turn
    from espnet3.launcher.planning.claims import hold_directory
    from espnet3.launcher.planning.plan import plan
    from espnet3.outcomes.exit_code import exit_code
    from espnet3.slurm.allocation import read_allocation
    from espnet3.sweep.trials.trial import read_trial, trial_config
    from espnet3.terminal.screen import Screen

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
    keep_output()
    sys.exit(main(sys.argv[1:]))
