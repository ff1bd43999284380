"""`espnet3 logs` of a sweep: choose the trials whose logs are shown or followed."""

from pathlib import Path

from espnet3.errors import UserError, command_path, short_path
from espnet3.sweep.show.results import read_sweep_status
from espnet3.sweep.show.states import FAILED, UNDER_WAY
from espnet3.sweep.trials.folder import trial_dir
from espnet3.sweep.trials.record import read_sweep_record
from espnet3.terminal.screen import Screen


def find_trial(sweep: Path, given: str) -> Path:
    """The run directory of a trial, by its number in the table, or by a prefix of its name or hash.

    Raises:
        UserError: no trial matches, or several do.
    """
    record = read_sweep_record(sweep)
    names = list(record.trials) if record else []
    if given.isdigit() and 0 < int(given) <= len(names):
        return trial_dir(sweep, names[int(given) - 1])
    matching = [
        name for name in names if name.startswith(given) or name.rpartition("__")[2].startswith(given)
    ]
    if given in names or len(matching) == 1:
        return trial_dir(sweep, given if given in names else matching[0])
    problem = (
        f"{len(matching)} trials match, the first is {matching[0]}" if matching else "there is no such trial"
    )
    raise UserError(
        f"--trial {given}: {problem}; give a number from 1 to {len(names)}, as `espnet3 status"
        f" {command_path(sweep)}` shows it, or a name"
    )


def find_first_failed(sweep: Path, screen: Screen) -> Path:
    """The run directory of the first trial that failed; prints which one it is.

    Raises:
        UserError: no trial has failed.
    """
    status = read_sweep_status(sweep, in_part=True)
    for number, row in enumerate(status.rows, start=1):
        if row.state.state in (*FAILED, "diverged"):
            more = sum(other.state.state in (*FAILED, "diverged") for other in status.rows) - 1
            others = f"; {more} more failed" if more else ""
            screen.line(f"trial {number} {row.name}: {row.state}{others}")
            return trial_dir(sweep, row.name)
    raise UserError(
        f"no trial of {short_path(sweep)} has failed: give --trial, a number from 1 to {len(status.rows)}, as"
        f" `espnet3 status {command_path(sweep)}` shows it, or a name"
    )


def trials_under_way(sweep: Path) -> list[str]:
    """Names of the trials that are queued or running."""
    return [row.name for row in read_sweep_status(sweep).rows if row.state.state in UNDER_WAY]
