"""Where in its data a training is: what a checkpoint says of it, and what the next epoch begins with."""

from collections.abc import Mapping
from typing import Any

from espnet3.components.data.batching import Deal


class DataPosition:
    """Epoch and batch that training would go on with, and how the batches before it were dealt to ranks."""

    def __init__(self) -> None:
        self.epoch = 0
        self.batch = 0
        """The next batch of that epoch, on each rank."""
        self.dealt_before: tuple[Deal, ...] = ()
        """How batches of that epoch were dealt to other numbers of ranks; empty: all to those of now."""

    def after_batch(self, epoch: int, batch: int) -> None:
        """`batch` of `epoch` was run."""
        self.epoch, self.batch = epoch, batch + 1

    def after_epoch(self, epoch: int) -> bool:
        """The whole `epoch` was run; whether the next one has another length, so that it needs other data."""
        was_dealt_before = bool(self.dealt_before)
        self.epoch, self.batch, self.dealt_before = epoch + 1, 0, ()
        return was_dealt_before

    def state_dict(self, world_size: int) -> dict[str, Any]:
        """The position, and all deals of its epoch, that to the `world_size` ranks of now among them."""
        own = Deal(world_size, self.batch - sum(deal.batches for deal in self.dealt_before))
        dealt = [[deal.world_size, deal.batches] for deal in (*self.dealt_before, own) if deal.batches]
        return {"position": [self.epoch, self.batch], "dealt": dealt}

    def load_state_dict(self, state: Mapping[str, Any], world_size: int) -> None:
        """Go on from what `state_dict` gave, now with `world_size` ranks; from an empty one at the start."""
        epoch, batch = state.get("position", (0, 0))
        self.epoch, self.batch = int(epoch), int(batch)
        dealt = [Deal(int(ranks), int(batches)) for ranks, batches in state.get("dealt", ())]
        if dealt and dealt[-1].world_size == world_size:
            dealt.pop()
        self.dealt_before = tuple(dealt)
