"""Counts the device-to-host reads of each batch of small trainings, as one rank or one of several; no test.

    python device_reads.py DIRECTORY      as a rank, by RANK, WORLD_SIZE, RENDEZVOUS

A rank's counts, by case and by `single` or `named`, are DIRECTORY/rank-<r>.pt.
"""

import os
import sys
from collections import Counter
from pathlib import Path

import torch
from lightning.pytorch import Callback
from omegaconf import OmegaConf
from torch import nn

import counting_device
import training_runs
from espnet3.components.modeling.metrics.ratio import Ratio
from espnet3.components.modeling.optimization_spec import OptimizationStep
from espnet3.components.trainers.build import build_trainer
from espnet3.rundir.task import Task

BATCHES = 6
NAMES = ("generator", "discriminator")
COUNTING = "counting_device.CountingAccelerator"
ADAM = {"_target_": "torch.optim.Adam", "lr": 0.01, "foreach": True}
CASES = {
    "a training batch": {},
    "gradients clipped": {"clip": 1.0},
    "progress bar": {"trainer": {"enable_progress_bar": True}},
    "logging step": {"logger": True},
    "logging step, gradients clipped": {"logger": True, "clip": 1.0},
    "logging step, progress bar, gradients clipped": {
        "logger": True,
        "clip": 1.0,
        "trainer": {"enable_progress_bar": True},
    },
    "parameters without gradient": {"unused": True},
    "precision 16-mixed": {"trainer": {"precision": "16-mixed"}},
}


class Networks(nn.Module):
    """A generator and a discriminator; statistics of all kinds: on the device, on the host, numbers."""

    def __init__(self, named: bool, unused: bool) -> None:
        super().__init__()
        self.named = named
        self.generator = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 4))
        self.discriminator = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
        if unused:
            self.generator.last = nn.Parameter(torch.zeros(3))
            self.discriminator.last = nn.Parameter(torch.zeros(3))

    def forward(self, x):
        fake = self.generator[:4](x)
        loss = (fake - x).square().mean()
        discriminate = self.discriminator[:3]
        scores = discriminate(fake.detach()).mean() - discriminate(x).mean()
        stats = {
            "loss": loss.detach(),
            "rate": Ratio(loss.detach(), len(x)),
            "number": 0.5,
            "host": torch.tensor(0.25),
            "none": None,
        }
        weight = torch.tensor(len(x))
        if not self.named:
            return loss + scores, stats, weight
        return [OptimizationStep(scores, NAMES[1]), OptimizationStep(loss, NAMES[0])], stats, weight


class Waits(Callback):
    """What each training batch and each validation batch has waited for, after those of the first epoch."""

    def __init__(self, counts: Counter) -> None:
        self.counts = counts
        self.found: dict[str, list[Counter]] = {"training": [], "validation": []}
        self._before: Counter | None = None

    def _begin(self, *_) -> None:
        self._before = self.counts.copy()

    def on_train_batch_start(self, trainer, module, *_) -> None:
        if self._before is not None and trainer.current_epoch:
            self.found["training"].append(self.counts - self._before)
        self._begin()

    def on_validation_batch_start(self, trainer, module, batch, index, *_) -> None:
        if index:
            self.found["validation"].append(self.counts - self._before)
        self._begin()

    def on_train_epoch_start(self, *_) -> None:
        self._before = None


def waits(
    kind: str, case: dict, task: Task, directory: Path, counts: Counter, accelerator: str
) -> dict[str, dict[str, int]]:
    """The most waits of a training and of a validation batch, by what `counts` counts.

    Args:
        kind: single or named.
        case: one of CASES.
        task: the rank that this is.
        directory: for the logger's rows.
        counts: goes up with each wait for the device.
        accelerator: Lightning's name of the device.
    """
    named, clip = kind == "named", case.get("clip")
    clipping = {} if clip is None else {"gradient_clip_val": clip}
    optimizers = {name: {"optimizer": ADAM, "params": name, **clipping} for name in NAMES}
    config = {"optimizers": optimizers} if named else {"optimizer": ADAM}
    batches = [
        ([f"{index}-{row}" for row in range(8)], {"x": torch.sin(torch.arange(32.0).reshape(8, 4) + index)})
        for index in range(BATCHES)
    ]
    module = training_runs.SweepCommand(
        Networks(named, case.get("unused", False)), config, batches, batches[:4]
    )
    whole = {
        "exp_dir": str(directory),
        "trainer": {
            "accelerator": {"_target_": COUNTING} if accelerator == counting_device.NAME else accelerator,
            "devices": task.world_size,
            "max_epochs": 2,
            "log_every_n_steps": 1,
            **({} if named else clipping),
            **case.get("trainer", {}),
        },
    }
    if task.world_size == 1 and accelerator == counting_device.NAME:  # Lightning would take the CPU for it
        whole["trainer"]["strategy"] = {
            "_target_": "lightning.pytorch.strategies.SingleDeviceStrategy",
            "device": f"{counting_device.NAME}:0",
        }
    if case.get("logger"):
        csv = "espnet3.components.trainers.csv_logger.AppendingCSVLogger"
        whole["logger"] = {"csv": {"_target_": csv, "path": str(directory / "metrics.csv")}}
    seen = Waits(counts)
    build_trainer(OmegaConf.create(whole), task, [seen]).fit(module)
    names = (counting_device.READ, counting_device.WRITE)
    return {
        loop: {name: max(count[name] for count in found) for name in names}
        for loop, found in seen.found.items()
    }


def counted(kind: str, case: dict, task: Task, directory: Path) -> dict[str, dict[str, int]]:
    """`waits` on the device that counts."""
    with counting_device.counting() as counting:
        return waits(kind, case, task, directory, counting.counts, counting_device.NAME)


def main(directory: str) -> None:
    """Run every case as this rank."""
    rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    counting_device.enable()
    if world_size > 1:
        training_runs.meet(rank, world_size)
    task = Task("train", rank, world_size, local_rank=rank)
    counts = {
        name: {kind: counted(kind, case, task, Path(directory)) for kind in ("single", "named")}
        for name, case in CASES.items()
    }
    torch.save(counts, Path(directory) / f"rank-{rank}.pt")
    if world_size > 1:
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1])
