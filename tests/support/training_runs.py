"""Small trainings with a known course, in this process or as one of two ranks; not a test itself.

    python training_runs.py DIRECTORY      as one of several ranks, by RANK, WORLD_SIZE, RENDEZVOUS

A rank's answer is DIRECTORY/rank-<r>.pt.
"""

import copy
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import torch
from lightning.pytorch import Callback
from omegaconf import OmegaConf
from torch.utils.data import DataLoader

from espnet3.components.checkpoint import run_checkpoint
from espnet3.components.checkpoint.run_checkpoint import RunCheckpoint
from espnet3.components.data.loading.epoch_batch_sampler import EpochBatchSampler
from espnet3.components.modeling.lightning_module import ESPnetLightningModule
from espnet3.components.modeling.metrics.ratio import Ratio
from espnet3.components.modeling.optimization_spec import OptimizationStep
from espnet3.components.trainers.build import build_trainer
from espnet3.rundir.stop import Stopped
from espnet3.rundir.task import Task

SGD = {"_target_": "torch.optim.SGD", "lr": 0.05, "momentum": 0.5}
PLATEAU = {"_target_": "torch.optim.lr_scheduler.ReduceLROnPlateau", "patience": 0, "factor": 0.5}
STEP_LR = {"_target_": "torch.optim.lr_scheduler.StepLR", "step_size": 1, "gamma": 0.9}


class Linear(torch.nn.Module):
    """A linear model whose loss, on features that are NaN, is NaN."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(3, 1)
        torch.nn.init.constant_(self.linear.weight, 0.1)
        torch.nn.init.constant_(self.linear.bias, -0.2)

    def forward(self, x, y, weight=None, **_):
        loss = (self.linear(x) - y).square().mean()
        return loss, {"loss": loss.detach(), "none": None}, weight


def sick(loss):
    """The same loss, whose gradients are NaN."""
    return loss + 0 * (0 * loss).sqrt()


class Sick(Linear):
    """On a batch with `sick` the loss is finite, and its gradients are not."""

    def forward(self, x, y, sick_batch=False, **_):
        loss, stats, weight = super().forward(x, y)
        return sick(loss) if sick_batch else loss, stats, weight


def data(index, bad=False, **more):
    """Batch `index` of a deterministic regression, two utterances."""
    x = torch.tensor([[1.0, 2.0, 3.0], [0.5, -1.0, 2.0]]) * (1 + index % 5) / 3
    y = torch.tensor([[1.0], [0.5]]) * (index % 3)
    x = x * float("nan") if bad else x
    return [f"{index}-a", f"{index}-b"], {"x": x, "y": y, **more}


class Batches:
    """A dataset whose items are whole batches, by (epoch, index)."""

    def __init__(self, batches) -> None:
        self.batches = batches

    def __getitem__(self, key):
        return self.batches[key[1]]


def loader(batches, epoch=0, start_batch=0, rotate=0):
    """The given batches, each epoch's order rotated by so many; can begin at any, as the real loaders."""

    def plan(epoch):
        return [((index + rotate * epoch) % len(batches),) for index in range(len(batches))]

    sampler = EpochBatchSampler(plan, epoch=epoch, start_batch=start_batch)
    return DataLoader(Batches(batches), batch_sampler=sampler, collate_fn=first, generator=torch.Generator())


def first(items):
    return items[0]


class SweepCommand(ESPnetLightningModule):
    """The module with batches that a test gives instead of a dataset."""

    def __init__(self, model, config, train, valid=(), rotate=0) -> None:
        super().__init__(model, config)
        self.data = GivenData(list(train), list(valid), rotate)


class GivenData:
    """In place of RankData: the same batches on every rank, whatever its share."""

    def __init__(self, train, valid, rotate) -> None:
        self.batches = {"train": train, "valid": valid}
        self.rotate = rotate

    def loader(self, split, *, rank, world_size, dealt_before=(), **begin):
        if not self.batches[split]:
            return []
        return loader(self.batches[split], rotate=self.rotate if split == "train" else 0, **begin)


class Trace(Callback):
    """What a batch could change, as it was after each batch."""

    def __init__(self) -> None:
        self.states = []

    def on_train_batch_end(self, trainer, module, *_):
        optimizer = trainer.optimizers[0]
        self.states.append(
            copy.deepcopy(
                {
                    "weights": dict(module.state_dict()),
                    "gradients": [p.grad for p in module.parameters()],
                    "optimizer": optimizer.state_dict(),
                    "schedulers": [config.scheduler.state_dict() for config in trainer.lr_scheduler_configs],
                }
            )
        )


def same(one, other):
    """Whether two nested structures hold the same bits."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def fit(
    train,
    directory,
    *,
    valid=(),
    model=None,
    config=None,
    callbacks=(),
    task=None,
    last=None,
    rotate=0,
    logger=None,
    **trainer,
):
    """Train on the given batches with our trainer, from the checkpoint `last`; the module and its trainer."""
    task = task or Task.single("train")
    whole = OmegaConf.create(
        {
            "exp_dir": str(directory),
            "logger": logger or {},
            "trainer": {
                "accelerator": "cpu",
                "devices": task.world_size,
                "max_epochs": 1,
                "log_every_n_steps": 1,
                **trainer,
            },
        }
    )
    own = {"optimizer": SGD, "trainer": trainer, **(config or {})}
    module = SweepCommand(model or Linear(), own, train, valid, rotate)
    module.stop_requested = task.stop.is_set
    built = build_trainer(whole, task, callbacks)
    built.fit(module, ckpt_path=last, weights_only=True)
    return module, built


def traced(train, directory, **options):
    """As `fit`: the state after each batch."""
    trace = Trace()
    fit(train, directory, callbacks=[trace], **options)
    return trace.states


# --- on two ranks -----------------------------------------------------------------------------------------


def meet(rank, world_size):
    """Join the other ranks where the test said: a file."""
    torch.distributed.init_process_group(
        "gloo", init_method=os.environ["RENDEZVOUS"], rank=rank, world_size=world_size
    )


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


class Noisy(Linear):
    """Draws from the global generator, as dropout does."""

    def forward(self, x, y, **_):
        return super().forward(x + 0.1 * torch.randn_like(x), y)


class StopAt(Callback):
    """Asks this rank to stop while a batch runs."""

    def __init__(self, task, batch) -> None:
        self.task, self.batch = task, batch

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if (trainer.current_epoch, batch_idx) == self.batch:
            self.task.stop.set("asked")


def checkpointed(task, directory, *, stop=None, continued=False, epochs=3, **options):
    """Train with checkpoints in `directory`; ends where `stop` (epoch, batch) is asked for on this rank."""
    checkpoints = RunCheckpoint(directory / "checkpoints", "valid/loss", save_top_k=2)
    last = directory / "checkpoints" / "last.ckpt"
    task = Task(task.stage, task.rank, task.world_size, task.local_rank)
    torch.manual_seed(7 + task.rank)
    module, trainer = fit(
        [data(2 * index + task.rank) for index in range(5)],
        directory,
        valid=[data(task.rank)],
        model=Noisy(),
        config={"scheduler": PLATEAU, "scheduler_interval": "epoch", "scheduler_monitor": "valid/loss"},
        callbacks=[checkpoints, *([StopAt(task, stop)] if stop else [])],
        task=task,
        last=last if continued else None,
        rotate=2,
        max_epochs=epochs,
        **options,
    )
    return {
        "weights": dict(module.state_dict()),
        "optimizer": trainer.optimizers[0].state_dict(),
        "scheduler": trainer.lr_scheduler_configs[0].scheduler.state_dict(),
        "metrics": {key: float(value) for key, value in trainer.callback_metrics.items()},
    }


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
