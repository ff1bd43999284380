"""The loss scale of one named optimizer under 16-bit mixed precision."""

from collections.abc import Mapping
from dataclasses import dataclass

GROWTH, BACKOFF, GROWTH_INTERVAL = 2.0, 0.5, 2000


@dataclass
class LossScale:
    """What losses are multiplied with so that their gradients stay within float16's range.

    As torch.amp.GradScaler, with its defaults, but for one optimizer alone, and as a number of the host:
    it moves only with an update, so all contributions to that have the same scale.
    """

    scale: float = 65536.0
    good_updates: int = 0
    """Updates without overflow since the scale last moved."""

    def update(self, *, overflow: bool) -> None:
        """Move the scale after an update, or after gradients that held NaN or Inf."""
        if overflow:
            self.scale *= BACKOFF
            self.good_updates = 0
            return
        self.good_updates += 1
        if self.good_updates == GROWTH_INTERVAL:
            self.scale *= GROWTH
            self.good_updates = 0

    def state_dict(self) -> dict[str, float]:
        """Scale and count."""
        return {"scale": self.scale, "good_updates": self.good_updates}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Continue from what `state_dict` gave."""
        self.scale = float(state["scale"])
        self.good_updates = int(state["good_updates"])
