"""`espnet3 status` of sweeps: one line per trial, once or again and again, or as JSON."""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from espnet3.errors import short_path
from espnet3.rundir.atomic import without_nan
from espnet3.status.show import FILES_EVERY_S, QUEUE_EVERY_S
from espnet3.status.table import Line
from espnet3.sweep.show.results import read_sweep, read_sweep_status
from espnet3.sweep.show.table import sweep_table
from espnet3.sweep.trials.folder import SWEEP
from espnet3.sweep.trials.record import read_sweep_record
from espnet3.terminal.screen import Screen

_BELOW = ("exp/sweeps/*", "*/exp/sweeps/*", "*/*/exp/sweeps/*", "egs/*/exp/sweeps/*", "egs/*/*/exp/sweeps/*")
"""Where sweeps lie below a recipe, a corpus, egs/ and a clone."""


def show_sweeps(sweeps: Sequence[Path], screen: Screen) -> None:
    """Print how each is, now."""
    for sweep in sweeps:
        for line in sweep_table(read_sweep_status(sweep)):
            screen.styled(line)


def watch_sweeps(sweeps: Sequence[Path], screen: Screen) -> None:
    """Show how sweeps are, again and again, until Ctrl-C.

    Raises:
        KeyboardInterrupt: it was ended.
    """
    queues: dict[Path, Any] = {}
    asked_at = float("-inf")
    with screen.redrawn() as redraw:
        while True:
            if time.monotonic() - asked_at >= QUEUE_EVERY_S:
                queues, asked_at = {}, time.monotonic()
            lines: list[Line] = []
            for sweep in sweeps:
                seen = read_sweep_status(sweep, queue=queues.get(sweep))
                queues[sweep] = seen.queue
                lines += sweep_table(seen)
            redraw(lines)
            time.sleep(FILES_EVERY_S)


def print_document(sweeps: Sequence[Path]) -> None:
    """Everything that is told of sweeps, for a program."""
    print(json.dumps([without_nan(asdict(read_sweep(sweep))) for sweep in sweeps], indent=2, default=str))


def mention_sweeps(here: Path, screen: Screen) -> None:
    """A line for each sweep of the recipe that `here` is in, or below `here`; trials are not looked at."""
    recipe = next((one for one in (here, *here.parents) if (one / "conf" / "config.yaml").is_file()), here)
    for file in sorted({path for pattern in _BELOW for path in recipe.glob(f"{pattern}/{SWEEP}")}):
        record = read_sweep_record(file.parent)
        count = len(record.trials) if record else 0
        where = short_path(file.parent)
        screen.styled([(f"sweep {where}: {count} trials, see `espnet3 status {where}`", "")])
