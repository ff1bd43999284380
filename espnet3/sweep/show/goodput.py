"""What the time of trials was spent on."""

from collections.abc import Sequence
from pathlib import Path

from espnet3.slurm.accounting import times_by_start
from espnet3.status.goodput.facts import RunFacts, at_present, read_facts, slurm_ids, with_accounting
from espnet3.status.goodput.ledger import Row, ledger
from espnet3.status.snapshot import QueueSnapshot
from espnet3.status.stage_states import stage_statuses
from espnet3.sweep.show.states import TrialFiles


def trial_facts(directory: Path, files: TrialFiles, queue: QueueSnapshot, now: float) -> RunFacts:
    """What the files of the trial in `directory` say about its time."""
    statuses = stage_statuses(files.run, queue, now) if files.run else []
    return at_present(read_facts(directory), statuses)


def accounted_ledgers(trials: Sequence[RunFacts], now: float) -> list[list[Row]]:
    """The ledger of each trial, by the times that sacct has of their jobs; asked once for all."""
    known = times_by_start(slurm_ids(trials))
    return [ledger(with_accounting(one, known), now) for one in trials]
