"""`espnet3 status` of sweeps: one line per trial, once or repeatedly, or as JSON."""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from espnet3.errors import command_path, short_path
from espnet3.number_text import counted
from espnet3.rundir.files.atomic import without_nan
from espnet3.status.goodput.document import goodput_document
from espnet3.status.goodput.ledger import Row
from espnet3.status.goodput.table import goodput_by_trial, goodput_lines
from espnet3.status.show import FILES_EVERY_S, QUEUE_EVERY_S
from espnet3.status.table import Line
from espnet3.sweep.show.goodput import accounted_ledgers, trial_facts
from espnet3.sweep.show.results import SweepStatus, read_sweep, read_sweep_status
from espnet3.sweep.show.table import sweep_table
from espnet3.sweep.trials.folder import SWEEP, trial_dir
from espnet3.sweep.trials.record import read_sweep_record
from espnet3.sweep.trials.waiting import waiting_trials
from espnet3.terminal.screen import Screen

_SWEEP_PATTERNS = (
    "exp/sweeps/*",
    "*/exp/sweeps/*",
    "*/*/exp/sweeps/*",
    "egs/*/exp/sweeps/*",
    "egs/*/*/exp/sweeps/*",
)
"""Where sweeps are, seen from a recipe, a corpus, egs/ and a clone."""


def show_sweeps(sweeps: Sequence[Path], screen: Screen, *, goodput: bool = False) -> None:
    """Print the current status of each, or with `goodput` what the time of each trial was spent on."""
    for sweep in sweeps:
        status = read_sweep_status(sweep, in_part=True)
        lines = goodput_table(status, screen.width) if goodput else sweep_table(status, screen.width)
        for line in lines:
            screen.styled(line)
        if waiting := waiting_trials(sweep):
            count, command = counted(len(waiting), "trial"), f"`espnet3 resume {command_path(sweep)}`"
            screen.styled([(f"waiting for room: {count}, submitted by trials that end, or by {command}", "")])


def goodput_table(status: SweepStatus, width: int | None) -> list[Line]:
    """The time of all trials by kind, and a line for each, by its number in the table of their states."""
    ledgers = _ledgers(status)
    title = short_path(status.directory)
    everything = goodput_lines(title, [row for rows in ledgers for row in rows], width, by_attempt=False)
    return [*everything, [("", "")], *goodput_by_trial(ledgers, width)]


def _ledgers(status: SweepStatus) -> list[list[Row]]:
    now = time.time()
    facts = [
        trial_facts(trial_dir(status.directory, row.name), row.files, status.queue, now)
        for row in status.rows
    ]
    return accounted_ledgers(facts, now)


def watch_sweeps(sweeps: Sequence[Path], screen: Screen) -> None:
    """Show the status of sweeps, redrawn until Ctrl-C.

    Raises:
        KeyboardInterrupt: Ctrl-C.
    """
    queues: dict[Path, Any] = {}
    asked_at = float("-inf")
    with screen.redrawn() as redraw:
        while True:
            if time.monotonic() - asked_at >= QUEUE_EVERY_S:
                queues, asked_at = {}, time.monotonic()
            lines: list[Line] = []
            for sweep in sweeps:
                status = read_sweep_status(sweep, queue=queues.get(sweep), in_part=True)
                queues[sweep] = status.queue
                lines += sweep_table(status, screen.width)
            redraw(lines)
            time.sleep(FILES_EVERY_S)


def print_document(sweeps: Sequence[Path], *, goodput: bool = False) -> None:
    """Print everything about sweeps as JSON, with `goodput` also what the time of each trial was spent on."""
    documents = [without_nan(asdict(read_sweep(sweep))) for sweep in sweeps]
    for sweep, shown in zip(sweeps, documents, strict=True) if goodput else ():
        ledgers = _ledgers(read_sweep_status(sweep, in_part=True))
        shown["goodput"] = goodput_document([row for rows in ledgers for row in rows], with_rows=False)
        for trial, rows in zip(shown["trials"], ledgers, strict=True):
            trial["goodput"] = goodput_document(rows)
    print(json.dumps(documents, indent=2, default=str))


def mention_sweeps(directory: Path, screen: Screen) -> None:
    """Print a line for each sweep of the recipe around `directory`, or below it; reads no trial."""
    recipe = next(
        (path for path in (directory, *directory.parents) if (path / "conf" / "config.yaml").is_file()),
        directory,
    )
    for file in sorted({path for pattern in _SWEEP_PATTERNS for path in recipe.glob(f"{pattern}/{SWEEP}")}):
        record = read_sweep_record(file.parent)
        count = len(record.trials) if record else 0
        where, word = short_path(file.parent), command_path(file.parent)
        screen.styled([(f"sweep {where}: {counted(count, 'trial')}, see `espnet3 status {word}`", "")])
