"""The position of a training in its data, as a checkpoint stores it and the data loader starts from it."""

from collections.abc import Mapping
from typing import Any

from espnet3.components.data.loading.batching import Deal


class DataPosition:
    """Epoch and batch that training continues with, and how earlier batches were dealt to ranks."""

    def __init__(self, epoch: int = 0) -> None:
        self.epoch = epoch
        self.batch = 0
        """The next batch of that epoch, on each rank."""
        self.dealt_before: tuple[Deal, ...] = ()
        """How batches of that epoch were dealt to other numbers of ranks; empty: all to the current one."""

    def after_batch(self, epoch: int, batch: int) -> None:
        """`batch` of `epoch` was run."""
        self.epoch, self.batch = epoch, batch + 1

    def after_epoch(self, epoch: int) -> bool:
        """The whole `epoch` was run; returns whether the next one has another length: a new loader."""
        was_dealt_before = bool(self.dealt_before)
        self.epoch, self.batch, self.dealt_before = epoch + 1, 0, ()
        return was_dealt_before

    def state_dict(self, world_size: int) -> dict[str, Any]:
        """The position, and all deals of its epoch, including the one to the current `world_size` ranks."""
        current = Deal(world_size, self.batch - sum(deal.batches for deal in self.dealt_before))
        dealt = [[deal.world_size, deal.batches] for deal in (*self.dealt_before, current) if deal.batches]
        return {"position": [self.epoch, self.batch], "dealt": dealt}

    def load_state_dict(self, state: Mapping[str, Any], world_size: int) -> None:
        """Continue from what `state_dict` returned, with `world_size` ranks; an empty state is the start."""
        epoch, batch = state.get("position", (0, 0))
        self.epoch, self.batch = int(epoch), int(batch)
        dealt = [Deal(int(ranks), int(batches)) for ranks, batches in state.get("dealt", ())]
        if dealt and dealt[-1].world_size == world_size:
            dealt.pop()
        self.dealt_before = tuple(dealt)
