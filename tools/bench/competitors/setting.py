"""What all competitors share: sizes, batches, optimizer, and the timing of steps."""

import itertools
import os
import time

import torch
from lightning.pytorch import Callback
from torch.utils.data import DataLoader

ADAM = {"_target_": "torch.optim.Adam", "lr": 1e-4}
CLOCK = time.process_time if os.environ.get("BENCH_CPU_TIME") else time.perf_counter
RANK, RANKS = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])


class Setting:
    """One case: sizes, and this rank's batches, always the same."""

    def __init__(self, width: int, samples: int, accumulate: int) -> None:
        self.width, self.samples, self.accumulate = width, samples, accumulate
        generator = torch.Generator().manual_seed(RANK)
        self.batches = [torch.randn(samples, width, generator=generator) for _ in range(8)]

    def loader(self, steps: int) -> DataLoader:
        """A loader of (uids, data), without workers."""
        uids = [str(index) for index in range(self.samples)]
        batches = [(uids, {"x": self.batches[step % len(self.batches)]}) for step in range(steps)]
        return DataLoader(batches, batch_size=None)


class Timing(Callback):
    """Records when each training batch begins."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_train_batch_start(self, *_: object) -> None:
        """Record the time."""
        self.times.append(CLOCK())

    def durations(self) -> list[float]:
        """Seconds of each batch but the last."""
        return differences(self.times)


def differences(times: list[float]) -> list[float]:
    """From points in time to durations."""
    return [after - before for before, after in itertools.pairwise(times)]
