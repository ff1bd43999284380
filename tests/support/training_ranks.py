"""Trainings as one of several ranks, each a scenario; not a test itself.

    python training_ranks.py DIRECTORY      by RANK, WORLD_SIZE, RENDEZVOUS

A rank's answer is DIRECTORY/rank-<r>.pt.
"""

import os
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import torch
from lightning.pytorch import Callback

from espnet3.components.checkpoint import run_checkpoint
from espnet3.components.checkpoint.run_checkpoint import RunCheckpoint
from espnet3.components.modeling.metrics.ratio import Ratio
from espnet3.components.modeling.optimization_spec import OptimizationStep
from espnet3.rundir.stop import Stopped
from espnet3.rundir.task import Task
from training_runs import SGD, STEP_LR, Linear, Sick, Trace, checkpointed, data, fit, meet, traced


def skipping(task, directory):
    """Batch 3 is NaN on rank 1 only; traces for accumulation 1 and 2, and of runs without the batch."""
    mine = [data(2 * index + task.rank) for index in range(6)]
    bad = [data(2 * index + task.rank, bad=(index == 3 and task.rank == 1)) for index in range(6)]
    options = {"config": {"scheduler": STEP_LR}, "task": task}
    return {
        "bad": traced(bad, directory, **options),
        "without": traced(mine[:3] + mine[4:], directory, **options),
        "bad, accumulating": traced(bad, directory, accumulate_grad_batches=2, **options),
        "bad first, accumulating": traced(bad[3:] + bad[:3], directory, accumulate_grad_batches=2, **options),
        "bad, bf16": traced(bad, directory, precision="bf16-mixed", **options),
        "without, bf16": traced(mine[:3] + mine[4:], directory, precision="bf16-mixed", **options),
    }


def sick_on_one(task, directory):
    """Batch 1 has gradients of NaN on the last rank only, by a single optimizer and by a named one."""
    batches = [
        data(2 * index + task.rank, sick_batch=index == 1 and task.rank == task.world_size - 1)
        for index in range(3)
    ]
    named = {"optimizer": None, "optimizers": {"one": {"optimizer": SGD, "params": "linear"}}}
    return {
        "single": traced(batches, directory, model=Sick(), task=task),
        "named": traced(batches, directory, model=NamedSick(), task=task, config=named),
    }


class NamedSick(Sick):
    """The same for an optimizer called `one`."""

    def forward(self, x, y, **more):
        loss, stats, weight = super().forward(x, y, **more)
        return OptimizationStep(loss, "one"), stats, weight


def diverging(task, directory):
    """Rank 1 sees nothing but NaN: how the training ends here, and after how many batches."""
    counting = Trace()
    try:
        batches = [data(index, bad=task.rank == 1) for index in range(120)]
        fit(batches, directory, task=task, callbacks=[counting])
    except RuntimeError as error:
        return {"error": str(error), "batches": len(counting.states)}
    return {"error": None}


class Uneven(Linear):
    """Statistics that only some ranks have."""

    def forward(self, x, y, rank, **_):
        loss, stats, _ = super().forward(x, y)
        value = torch.tensor(float(y.sum()))
        stats |= {"here": value if rank == 1 else None, "size": value, "rate": Ratio(value, 1 + 3 * rank)}
        return loss, stats, torch.tensor(rank + 1)


def metrics(task, directory):
    """Rank 0 has no validation batch that counts, rank 1 two; statistics differ by rank."""
    train = [(uids, {**batch, "rank": task.rank}) for uids, batch in (data(1), data(2))]
    valid = [(uids, {**batch, "rank": task.rank}) for uids, batch in (data(1, bad=task.rank == 0), data(2))]
    if task.rank == 0:
        valid = valid[:1]
    _, trainer = fit(train, directory, model=Uneven(), valid=valid, task=task)
    return {key: float(value) for key, value in trainer.callback_metrics.items()}


def mistaken(task, directory):
    """Rank 1 breaks the contract, in what it returns or in its batch: what each rank's error says."""

    class OnRankOne(Linear):
        def forward(self, x, y, mistake, **_):
            loss, stats, _ = super().forward(x, y)
            assert mistake != "own", "the model's own"
            return (loss.detach().tolist() if mistake == "loss" else loss), stats, None

    errors = {}
    for mistake in ("loss", "own", "batch"):
        uids, batch = data(0)
        given = batch | {"mistake": mistake if task.rank == 1 else None}
        batches = [[uids] if mistake == "batch" and task.rank == 1 else (uids, given)]
        try:
            fit(batches, directory, model=OnRankOne(), task=task)
        except AssertionError as error:
            errors[mistake] = str(error)
    return errors


class Middle(Linear):
    """With a layer that is frozen at first."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.first = torch.nn.Linear(3, 3)

    def forward(self, x, y, **_):
        return super().forward(self.first(x), y)


class Release(Callback):
    """Adds the first layer as a parameter group before the third batch, as BaseFinetuning does."""

    def setup(self, trainer, module, stage):
        module.model.first.requires_grad_(False)

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if batch_idx == 2:
            module.model.first.requires_grad_(True)
            trainer.optimizers[0].add_param_group({"params": list(module.model.first.parameters())})


def releasing(task, directory):
    """Weights after a training in which a group is added: ranks see different batches."""
    batches = [data(2 * index + task.rank) for index in range(4)]
    module, _ = fit(batches, directory, model=Middle(), task=task, callbacks=[Release()])
    return dict(module.state_dict())


def collectives(task, directory):
    """How many collectives of Python's run in a training epoch of six batches, by name."""
    names = ("all_reduce", "broadcast", "barrier", "all_gather", "all_gather_object", "broadcast_object_list")
    counts = dict.fromkeys(names, 0)

    class Count(Callback):
        def on_train_epoch_start(self, *_):
            for name in names:
                setattr(torch.distributed, name, self.counted(name, getattr(torch.distributed, name)))

        def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
            if batch_idx == 5:
                counts["after"] = dict(counts)

        def counted(self, name, function):
            def call(*args, **kwargs):
                counts[name] += 1
                return function(*args, **kwargs)

            return call

    fit([data(index) for index in range(6)], directory, task=task, callbacks=[Count()])
    return counts["after"]


def stopping(task, directory):
    """Rank 1 alone is asked to stop inside an epoch; then the run is continued."""
    told = None
    try:
        checkpointed(task, directory, stop=(1, 2) if task.rank == task.world_size - 1 else None)
    except Stopped as stopped:
        told = str(stopped)
    torch.manual_seed(99)
    return {
        "told": told,
        "continued": checkpointed(task, directory, continued=True),
        "undisturbed": checkpointed(task, directory.with_name("undisturbed")),
    }


class Clock(Callback):
    """A clock that every training batch moves on by so many minutes."""

    def __init__(self, minutes) -> None:
        self.minutes, self.now = minutes, 0.0

    def on_train_batch_start(self, *_):
        self.now += 60 * self.minutes


def clocks(task, directory):
    """A batch takes a minute by rank 0's clock, an hour by the others'; which checkpoints are written."""
    clock = Clock(60 if task.rank else 1)
    with patch.object(run_checkpoint, "time", SimpleNamespace(monotonic=lambda: clock.now)):
        checkpoints = RunCheckpoint(directory, "train/loss", keep_last=100, every_minutes=3)
        batches = [data(index) for index in range(10)]
        fit(batches, directory, task=task, callbacks=[checkpoints, clock], max_epochs=2)
    return sorted(path.name for path in directory.glob("epoch=*.ckpt"))


SCENARIOS = {
    function.__name__: function
    for function in (
        *(skipping, sick_on_one, metrics, diverging, collectives, stopping, clocks, mistaken, releasing),
    )
}


def main() -> None:
    directory = Path(sys.argv[1])
    rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    task = Task("train", rank, world_size, local_rank=rank)
    meet(rank, world_size)
    answers = {name: scenario(task, directory / name) for name, scenario in SCENARIOS.items()}
    torch.save(answers, directory / f"rank-{rank}.pt")
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
