"""What was skipped because it was not finite, and when that means that the training has diverged."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from espnet3.errors import Diverged

MOST_IN_A_ROW = 100
ADVICE = "lower the learning rate, clip gradients, or look at the data"


class Place(NamedTuple):
    """A batch of the training; both numbers count from 1."""

    epoch: int
    batch: int

    def __str__(self) -> str:
        return f"epoch {self.epoch}, batch {self.batch}"


@dataclass(frozen=True)
class UpdateResult:
    """What became of an update that was due."""

    nonfinite: tuple[str, ...] = ()
    """Parameters whose gradients held NaN or Inf: they were dropped, and nothing has changed."""
    overflowed: bool = False
    """The gradients had overflowed under a loss scale: only that scale has changed."""

    @property
    def done(self) -> bool:
        """Whether the parameters were updated."""
        return not (self.nonfinite or self.overflowed)


@dataclass
class Count:
    """How often one thing was skipped or accepted: batches, or the updates of one optimizer."""

    in_a_row: int = 0
    """Skipped since the last accepted one."""
    since: tuple[int, int] = (0, 0)
    """Epoch and batch where this row began."""
    skipped: int = 0
    """In this epoch."""
    accepted: int = 0
    """In this epoch."""

    def skip(self, place: Place) -> None:
        """Count a skipped one."""
        self.skipped += 1
        self.in_a_row += 1
        if self.in_a_row == 1:
            self.since = (place.epoch, place.batch)

    def accept(self) -> None:
        """Count an accepted one."""
        self.accepted += 1
        self.in_a_row = 0

    def begin_epoch(self) -> None:
        """An epoch begins."""
        self.skipped = self.accepted = 0


@dataclass
class Skips:
    """Counts the batches that were skipped for their loss, and the updates skipped for their gradients.

    The same on all ranks. A training has diverged when more than 100 of them in a row were skipped, or all
    of an epoch.
    """

    batches: Count = field(default_factory=Count)
    updates: dict[str, Count] = field(default_factory=dict)
    """By optimizer; the name of a single one is empty."""

    def begin_epoch(self) -> None:
        """An epoch begins."""
        for count in (self.batches, *self.updates.values()):
            count.begin_epoch()

    def batch(self, place: Place, *, skipped: bool) -> bool:
        """Count a batch; returns whether it is the first of its epoch that was skipped.

        Raises:
            Diverged: it is one too many in a row.
        """
        return _count(self.batches, place, skipped, "batches", "had a loss of NaN or Inf")

    def update(self, optimizer: str, place: Place, result: UpdateResult) -> bool:
        """Count an update that was due; returns whether it is the first of its epoch that was skipped.

        Raises:
            Diverged: it is one too many in a row that was not made.
        """
        count = self.updates.setdefault(optimizer, Count())
        is_first = _count(count, place, not result.done, updates_of(optimizer), "had gradients of NaN or Inf")
        if result.overflowed:  # as some do while a loss scale settles: an epoch may have no other ones
            count.skipped -= 1
        return is_first and not result.overflowed

    def summary(self, epoch: int) -> list[str]:
        """A line for each kind of which several were skipped in this epoch, counted from 1."""
        kinds = [("batches", "loss is", self.batches)]
        kinds += [(updates_of(name), "gradients are", count) for name, count in self.updates.items()]
        return [
            f"epoch {epoch}: {count.skipped} of {count.skipped + count.accepted} {what} were skipped, whose"
            f" {why} NaN or Inf"
            for what, why, count in kinds
            if count.skipped > 1
        ]

    def end_epoch(self, holding: Mapping[str, bool]) -> None:
        """A whole epoch is over.

        Args:
            holding: optimizer -> whether it holds gradients for an update to come.

        Raises:
            Diverged: all batches of it, or all updates of an optimizer, were skipped.
        """
        if self.batches.skipped and not self.batches.accepted:
            raise _diverged(self.batches, "no batch from there on had a finite loss")
        for name, count in self.updates.items():
            if count.skipped and not count.accepted and not holding.get(name):
                what = f"of the {updates_of(name)} from there on"
                raise _diverged(count, f"{what} none had finite gradients")

    def nonfinite_gradients(self) -> dict[str, int]:
        """Updates skipped in this epoch, by the name under which they are logged; without zeros."""
        return {
            f"{name}/nonfinite_gradients".removeprefix("/"): count.skipped
            for name, count in self.updates.items()
            if count.skipped
        }

    def state_dict(self) -> dict[str, Any]:
        """The counts, as plain data."""
        return asdict(self)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state_dict` returned."""
        self.batches = _read(state["batches"])
        self.updates = {name: _read(count) for name, count in state["updates"].items()}


def updates_of(optimizer: str) -> str:
    """What the counts of an optimizer count, in words."""
    return f"updates of {optimizer}" if optimizer else "updates"


def _count(count: Count, place: Place, skipped: bool, what: str, why: str) -> bool:
    if not skipped:
        count.accept()
        return False
    count.skip(place)
    if count.in_a_row > MOST_IN_A_ROW:
        raise _diverged(count, f"{count.in_a_row} {what} in a row {why}")
    return count.skipped == 1


def _diverged(count: Count, problem: str) -> Diverged:
    return Diverged(f"diverged at {Place(*count.since)}: {problem} ({ADVICE})")


def _read(state: Mapping[str, Any]) -> Count:
    return Count(**{**state, "since": tuple(state["since"])})
