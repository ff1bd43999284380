"""Which gradients are held between two updates of the parameters, when some batches are skipped."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass


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

    def skip(self) -> None:
        """Count a skipped batch."""
        self.skipped += 1

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
        """The gradients held have been used, or dropped because they were not finite."""
        self.held = 0
        self.skipped = 0

    def state_dict(self) -> dict[str, int]:
        """The counts."""
        return asdict(self)

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Continue from what `state_dict` returned."""
        for name, value in state.items():
            setattr(self, name, value)
