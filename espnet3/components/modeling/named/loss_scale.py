"""The loss scale of one named optimizer under 16-bit mixed precision."""

from collections.abc import Mapping
from dataclasses import dataclass

GROWTH, BACKOFF, GROWTH_INTERVAL = 2.0, 0.5, 2000


@dataclass
class LossScale:
    """What losses are multiplied with so that their gradients stay within float16's range.

    As torch.amp.GradScaler, with its defaults, but for one optimizer only, and as a number on the host:
    it changes only with an update, so all contributions to an update have the same scale.
    """

    scale: float = 65536.0
    good_updates: int = 0
    """Updates without overflow since the scale last changed."""

    def update(self, *, overflow: bool) -> None:
        """Adjust the scale after an update, or after gradients that held NaN or Inf."""
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
        """Continue from what `state_dict` returned."""
        self.scale = float(state["scale"])
        self.good_updates = int(state["good_updates"])
