"""Small trainings with a known course, for tests and for the ranks of `training_ranks`."""

import copy
import os

import torch
from lightning.pytorch import Callback
from omegaconf import OmegaConf
from torch.utils.data import DataLoader

from espnet3.components.checkpoint.run_checkpoint import RunCheckpoint
from espnet3.components.data.loading.epoch_batch_sampler import EpochBatchSampler
from espnet3.components.modeling.lightning_module import ESPnetLightningModule
from espnet3.components.trainers.build import build_trainer
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


def meet(rank, world_size):
    """Join the other ranks where the test said: a file."""
    torch.distributed.init_process_group(
        "gloo", init_method=os.environ["RENDEZVOUS"], rank=rank, world_size=world_size
    )


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
