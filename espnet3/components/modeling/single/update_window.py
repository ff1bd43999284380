"""Which gradients are held between two updates of the parameters, when some batches are skipped."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

MOST_SKIPPED_IN_A_ROW = 100


@dataclass
class UpdateWindow:
    """Counts batches since the last update, in the single-optimizer path.

    A skipped batch leaves the gradients that are held as they are: they are neither dropped nor used for an
    update of its own, and go on to the next one. Lightning divides every loss by `accumulate`; an update
    that a skipped batch fell into is rescaled, so that it is the mean over the batches accepted for it.
    """

    held: int = 0
    """Accepted batches whose gradients no update has used yet."""
    skipped: int = 0
    """Batches skipped since the last update."""
    skipped_in_a_row: int = 0
    """Batches skipped since the last accepted one."""

    def skip(self) -> None:
        """Count a skipped batch.

        Raises:
            RuntimeError: when it is one too many in a row.
        """
        self.skipped += 1
        self.skipped_in_a_row += 1
        if self.skipped_in_a_row > MOST_SKIPPED_IN_A_ROW:
            raise RuntimeError(
                f"{self.skipped_in_a_row} batches in a row had a loss of NaN or Inf: training has diverged"
                " (lower the learning rate, clip gradients, or look at the data)"
            )

    def accept(self) -> None:
        """Count an accepted batch."""
        self.skipped_in_a_row = 0

    def hold(self) -> bool:
        """Count an accepted batch's gradients; returns whether earlier ones must be zeroed before it."""
        self.held += 1
        return self.held == 1

    def scale(self, accumulate: int) -> float | None:
        """The factor for the gradients held before the update; None leaves them unchanged.

        Without a skipped batch it is None, so that Lightning's own scaling applies, also in a last window
        of an epoch that has fewer than `accumulate` batches.
        """
        return accumulate / self.held if self.skipped and self.held != accumulate else None

    def updated(self) -> None:
        """The gradients held have been used."""
        self.held = 0
        self.skipped = 0

    def state_dict(self) -> dict[str, int]:
        """The counts."""
        return asdict(self)

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Continue from what `state_dict` returned."""
        for name, value in state.items():
            setattr(self, name, value)
