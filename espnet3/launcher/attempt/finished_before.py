"""What a stage that others share had finished before an attempt with something else, which did not finish."""

from pathlib import Path

from espnet3.errors import short_path
from espnet3.rundir.files.changed import first_changed
from espnet3.rundir.records.record import Record, record_path, write_record
from espnet3.stage_table import STAGES, label
from espnet3.terminal.screen import Screen

_OUR_OWN = frozenset(("claim", "stages", "files", "check"))
"""Folders in which records lie, and not what the stage makes."""


class FinishedBefore:
    """The finished record that the start of an attempt has replaced; holds again if no file has changed."""

    def __init__(self, home: Path, stage: str, replaced: Record | None) -> None:
        """Call it when the attempt's record is written, and no task has begun."""
        self._home, self._stage = home, stage
        is_finished = replaced is not None and replaced.done and STAGES[stage].is_shared
        self._record = replaced if is_finished else None
        self._since_ns = record_path(home, stage).stat().st_ctime_ns if is_finished else 0
        self._names = {path.name for path in home.iterdir()} if is_finished else set()

    def restore(self, screen: Screen) -> None:
        """After an attempt that did not end as done: write the record again, or say why not."""
        if self._record is None:
            return
        where, name = short_path(self._home), label(self._stage)
        gone = self._names - {path.name for path in self._home.iterdir()} - _OUR_OWN
        changed = first_changed(self._home, self._since_ns, ignored=_OUR_OWN)
        if gone:
            changed = self._home / min(gone)
        if changed is None:
            write_record(self._home, self._stage, self._record)
            screen.line(f"{where} is untouched, and stays as it was finished before: {self._record.summary}")
        else:
            screen.line(f"{short_path(changed)} is no longer as finished before: {name} makes all again")
