"""`espnet3 status`: the status of any number of runs, once or continuously, as a table or as JSON."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from espnet3.errors import UserError, short_path
from espnet3.outcomes.lemons import lemons
from espnet3.rundir.files.atomic import without_nan
from espnet3.rundir.records.attempt import AttemptResult
from espnet3.rundir.records.record import briefly
from espnet3.slurm.accounting import times_by_start
from espnet3.stage_table import STAGES
from espnet3.status.goodput.document import goodput_document
from espnet3.status.goodput.facts import at_present, read_facts, slurm_ids, with_accounting
from espnet3.status.goodput.ledger import Row, ledger, trained_share
from espnet3.status.goodput.table import goodput_lines
from espnet3.status.run_dirs import run_dirs
from espnet3.status.run_files import RunFiles, read_what_can_be_read
from espnet3.status.snapshot import QueueSnapshot, query_queue
from espnet3.status.stage_states import jobs_to_query, stage_statuses
from espnet3.status.stage_status import StageStatus
from espnet3.status.table import Line, table
from espnet3.terminal.screen import Screen

FILES_EVERY_S = 2.0
QUEUE_EVERY_S = 10.0
"""Every squeue call loads Slurm's controller."""


def status(named: Sequence[Path], *, as_json: bool, screen: Screen, goodput: bool = False) -> int:
    """Print the current status of the runs; returns the exit code, 1 if something can't be read.

    With `goodput` what their time was spent on, for which sacct is asked once; in JSON besides their status.

    Raises:
        UserError: one of the directories is no run directory, or the only run can't be read.
    """
    runs, unreadable = read_runs(run_dirs(named))
    queue, now = query_queue(jobs_to_query(runs)), time.time()
    rows = ledgers(runs, queue, now) if goodput else {}
    if as_json:
        shown = {**document(runs, queue, now), "unreadable": unreadable}
        for run in shown["runs"] if goodput else ():
            run["goodput"] = goodput_document(rows[Path(run["run"])])
        print(json.dumps(shown, indent=2))
    elif goodput:
        for run in runs:
            for line in goodput_lines(short_path(run.exp_dir), rows[run.exp_dir], screen.width):
                screen.styled(line)
        for line in _problems(runs, unreadable, queue, now):
            screen.styled(line)
    else:
        for line in report(runs, unreadable, queue, now, screen.width):
            screen.styled(line)
    return 1 if unreadable or any(run.unreadable for run in runs) else 0


def read_runs(directories: Sequence[Path]) -> tuple[list[RunFiles], dict[str, str]]:
    """Read runs from their files.

    Returns:
        The runs, with what of them can be read, and directory -> message for those of which nothing can be
        read, or which a newer version of espnet3 has written.

    Raises:
        UserError: it is the only one.
    """
    runs: list[RunFiles] = []
    unreadable: dict[str, str] = {}
    for directory in directories:
        try:
            runs.append(read_what_can_be_read(directory))
        except UserError as error:
            if len(directories) == 1:
                raise
            unreadable[str(directory)] = str(error)
    return runs, unreadable


def watch_status(named: Sequence[Path], screen: Screen) -> None:
    """Show the status of the runs continuously, until Ctrl-C.

    Raises:
        UserError: one of the directories is no run directory.
        KeyboardInterrupt: Ctrl-C.
    """
    run_dirs(named)
    queue, asked_at = QueueSnapshot(), float("-inf")
    with screen.redrawn() as redraw:
        while True:
            runs, unreadable = read_runs(run_dirs(named))
            if time.monotonic() - asked_at >= QUEUE_EVERY_S:
                queue, asked_at = query_queue(jobs_to_query(runs)), time.monotonic()
            redraw(report(runs, unreadable, queue, time.time(), screen.console.width))
            time.sleep(FILES_EVERY_S)


def report(
    runs: Sequence[RunFiles],
    unreadable: Mapping[str, str],
    queue: QueueSnapshot,
    now: float,
    width: int | None,
) -> list[Line]:
    """The table, a line for each run that can't be read in full, and one if Slurm does not answer."""
    statuses = [with_trained(run, stage_statuses(run, queue, now), now) for run in runs]
    is_single = len(runs) == 1 and not unreadable
    rows = [one for stages in statuses for one in (stages if is_single else brief(stages))]
    lines = table(rows, width) if rows else [[("there are no runs here", "")]]
    return lines + _problems(runs, unreadable, queue, now)


def _problems(
    runs: Sequence[RunFiles], unreadable: Mapping[str, str], queue: QueueSnapshot, now: float
) -> list[Line]:
    lines: list[Line] = []
    for run in runs:
        lines += lemon_lines(run.blaming, now)
        if run.unreadable:
            lines.append(
                [(f"{short_path(run.exp_dir)} is shown in part: {briefly(run.unreadable)}", "yellow")]
            )
    lines += [[(f"{short_path(Path(run))} is not shown: {why}", "yellow")] for run, why in unreadable.items()]
    if queue.problem:
        lines.append([(f"Slurm can't be asked ({queue.problem}): this is what the files say", "yellow")])
    return lines


def lemon_lines(blaming: Sequence[AttemptResult], now: float) -> list[Line]:
    """A line for each node on which attempts of a run or sweep keep dying."""
    found = lemons(blaming, now)
    return [[(f"left out for a day, if there are other nodes: {lemon}", "yellow")] for lemon in found]


def brief(stages: Sequence[StageStatus]) -> list[StageStatus]:
    """The stages shown of one of several runs: those that are not done, or the last one."""
    return [one for one in stages if one.state != "done"] or list(stages[-1:])


def with_trained(run: RunFiles, stages: Sequence[StageStatus], now: float) -> list[StageStatus]:
    """The stages, a training with the share of its time on nodes that batches took."""
    if not any(STAGES[one.stage].trains for one in stages if one.stage):
        return list(stages)
    share = trained_share(ledger(at_present(read_facts(run.exp_dir), stages), now))
    share = None if share is None else round(share, 4)
    return [replace(one, trained=share) if one.stage and STAGES[one.stage].trains else one for one in stages]


def ledgers(runs: Sequence[RunFiles], queue: QueueSnapshot, now: float) -> dict[Path, list[Row]]:
    """The ledger of each run, with the times that sacct has of their jobs."""
    facts = [at_present(read_facts(run.exp_dir), stage_statuses(run, queue, now)) for run in runs]
    known = times_by_start(slurm_ids(facts))
    pairs = zip(runs, facts, strict=True)
    return {run.exp_dir: ledger(with_accounting(one, known), now) for run, one in pairs}


def document(runs: Sequence[RunFiles], queue: QueueSnapshot, now: float) -> dict[str, Any]:
    """All statuses as a JSON document."""
    return {
        "at": now,
        "slurm": {"asked": queue.asked, "problem": queue.problem or None},
        "runs": [
            {
                "run": str(run.exp_dir),
                "unreadable": list(run.unreadable),
                "lemons": [asdict(lemon) for lemon in lemons(run.blaming, now)],
                "state": next((one.state for one in brief(stages)), "not started"),
                "stages": [_fields(one) for one in stages],
            }
            for run in runs
            for stages in [with_trained(run, stage_statuses(run, queue, now), now)]
        ],
    }


def _fields(stage: StageStatus) -> dict[str, Any]:
    """The stage's part of the document."""
    fields: dict[str, Any] = without_nan({key: value for key, value in asdict(stage).items() if key != "run"})
    return fields
