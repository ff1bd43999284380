"""When a named optimizer contributes and when it updates: three counters that survive epochs."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import Enum


class Turn(Enum):
    """What an accepted batch means to an optimizer that it names."""

    IDLE = "idle"
    """No backward pass: `step_every_n_iters` leaves this iteration out."""
    CONTRIBUTE = "contribute"
    """A backward pass, whose gradients are held."""
    UPDATE = "update"
    """A backward pass, then an update from all contributions held."""


@dataclass
class Counters:
    """Counts of one named optimizer since training began. Skipped batches are not counted."""

    iterations: int = 0
    """Accepted batches that named it."""
    accum_counter: int = 0
    """Contributions held since its last update."""
    update_step: int = 0
    """Updates of its parameters."""

    def accept(self, accum_grad_steps: int, step_every_n_iters: int) -> Turn:
        """Count an accepted batch.

        With n = `step_every_n_iters` = 2 and k = `accum_grad_steps` = 2, iterations 2 and 4 contribute,
        and 4 updates.
        """
        self.iterations += 1
        if self.iterations % step_every_n_iters:
            return Turn.IDLE
        self.accum_counter += 1
        return Turn.UPDATE if self.accum_counter >= accum_grad_steps else Turn.CONTRIBUTE

    def used(self, *, updated: bool) -> None:
        """The contributions held were used by an update, or dropped because of an overflow."""
        self.accum_counter = 0
        self.update_step += updated

    def state_dict(self) -> dict[str, int]:
        """The counts by name."""
        return asdict(self)

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Continue from what `state_dict` returned."""
        self.iterations = int(state["iterations"])
        self.accum_counter = int(state["accum_counter"])
        self.update_step = int(state["update_step"])
