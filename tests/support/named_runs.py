"""Small GAN trainings by the LightningModule with named optimizers, here or as a rank; not a test itself.

    python named_runs.py DIRECTORY      as one of several ranks, by RANK, WORLD_SIZE, RENDEZVOUS

A rank's answers, by scenario, are DIRECTORY/rank-<r>.pt.
"""

import copy
import os
import sys
from pathlib import Path

import torch
from lightning.pytorch import Callback
from torch import nn

import training_runs
from espnet3.components.modeling.optimization_spec import OptimizationStep
from espnet3.errors import UserError
from espnet3.rundir.task import Task
from training_runs import fit, sick

ADAM = {"_target_": "torch.optim.AdamW", "lr": 0.01}
SPARSE_ADAM = {"_target_": "torch.optim.SparseAdam", "lr": 0.01}
STEP_LR = {"_target_": "torch.optim.lr_scheduler.ExponentialLR", "gamma": 0.9}
PLATEAU = {"_target_": "torch.optim.lr_scheduler.ReduceLROnPlateau", "patience": 0, "factor": 0.5}
BOTH = ["discriminator", "generator"]


class Gan(nn.Module):
    """Names, in each batch, the optimizers that the batch says; batch normalization keeps buffers."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.generator = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 4))
        self.discriminator = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))

    def losses(self, x):
        fake = self.generator(x)
        return {
            "generator": -self.discriminator(fake).mean() + (fake - x).square().mean(),
            "discriminator": self.discriminator(fake).mean() - self.discriminator(x).mean(),
        }

    def forward(self, x, names, single=False, sick_names=(), **_):
        losses = self.losses(x)
        losses |= {name: sick(losses[name]) for name in sick_names}
        steps = [OptimizationStep(losses[name], name) for name in names]
        stats = {"fake": losses["generator"].detach(), "none": None}
        return (steps[0] if single else steps), stats, None


def batch(index, names=BOTH, *, bad=False, rows=slice(None), **more):
    """Batch `index` for these optimizers, (B, 4) features; a bad one has a NaN."""
    x = torch.sin(torch.arange(32.0).reshape(8, 4) * (1 + index))[rows]
    if bad:
        x = x * float("nan")
    return [f"{index}-{row}" for row in range(len(x))], {"x": x, "names": list(names), **more}


def config(generator=None, discriminator=None, schedulers=None):
    """A configuration with both optimizers; the arguments are further keys of each."""
    named = {
        "optimizers": {
            "generator": {"optimizer": ADAM, "params": "generator", **(generator or {})},
            "discriminator": {"optimizer": ADAM, "params": "discriminator", **(discriminator or {})},
        }
    }
    if schedulers is not None:
        named["schedulers"] = schedulers
    return {"optimizer": None, **named}


class Trace(Callback):
    """The state of each optimizer, by name, after each batch."""

    def __init__(self):
        self.states = []

    def on_train_batch_end(self, trainer, module, *_):
        self.states.append(state_of(module))


class Collectives(Callback):
    """How many collectives of Python's each batch takes, by name."""

    NAMES = ("all_reduce", "broadcast", "barrier", "all_gather", "all_gather_object", "broadcast_object_list")

    def __init__(self):
        self.batches = []
        self._real = {}

    def on_train_batch_start(self, *_):
        self.batches.append({})
        for name in self.NAMES:
            self._real[name] = getattr(torch.distributed, name)
            setattr(torch.distributed, name, self._counted(name))

    def on_train_batch_end(self, *_):
        for name, real in self._real.items():
            setattr(torch.distributed, name, real)

    def _counted(self, name):
        real = self._real[name]

        def call(*args, **kwargs):
            self.batches[-1][name] = self.batches[-1].get(name, 0) + 1
            return real(*args, **kwargs)

        return call


def state_of(module):
    """All that a batch could change, by optimizer, as a copy."""
    return copy.deepcopy(
        {
            named.name: {
                "weights": [p.detach() for p in named.parameters],
                "gradients": [p.grad for p in named.parameters],
                "optimizer": named.optimizer.state_dict(),
                "scheduler": named.schedule.scheduler.state_dict() if named.schedule else None,
                "own": named.state_dict(),
            }
            for named in module.named.engine.values()
        }
    )


def train(batches, directory, configuration=None, *, trace=None, callbacks=(), model=None, **options):
    """As `fit` of training_runs, with the GAN."""
    callbacks = [*callbacks, *([trace] if trace else [])]
    return fit(
        batches,
        directory,
        model=model or Gan(),
        config=configuration or config(),
        callbacks=callbacks,
        **options,
    )


NAMES = [BOTH, ["generator"], BOTH[::-1], ["discriminator"], BOTH, BOTH]


def equal_weights(rank, world_size):
    """The rank's part of each batch; with one rank the union."""
    rows = slice(rank, None, world_size)
    return [batch(index, names, rows=rows) for index, names in enumerate(NAMES)]


class Normless(Gan):
    """Without batch normalization, whose statistics differ between ranks."""

    def __init__(self):
        super().__init__()
        self.generator[1] = nn.Identity()


SGD = {"_target_": "torch.optim.SGD", "lr": 0.1}


class Sparse(Normless):
    """Looks up a table by a function whose gradients are sparse; no module says so."""

    def __init__(self):
        super().__init__()
        self.generator.table = nn.Parameter(torch.ones(8, 4))

    def losses(self, x):
        index = (4 + 4 * x[:, 0]).long().clamp(0, 7)
        found = nn.functional.embedding(index, self.generator.table, sparse=True)
        return super().losses(x * found)


class Frozen(Normless):
    """With a layer that is not trained at first."""

    def __init__(self):
        super().__init__()
        self.generator[0].requires_grad_(False)


class Added(Callback):
    """Adds the frozen layer to its optimizer before the third batch, and reads gradients in hooks."""

    def __init__(self):
        self.norms = []

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if batch_idx == 2:
            layer = module.model.generator[0].requires_grad_(True)
            module.named.engine["generator"].optimizer.add_param_group({"params": list(layer.parameters())})

    def on_after_backward(self, trainer, module):
        self._read(module)

    def on_before_optimizer_step(self, trainer, module, optimizer):
        self._read(module)

    def _read(self, module):
        gradients = [p.grad for p in module.model.discriminator.parameters() if p.grad is not None]
        self.norms.append([float(gradient.norm()) for gradient in gradients])


OPTIONS = config({"accum_grad_steps": 2, "gradient_clip_val": 0.05}, {"step_every_n_iters": 2})


def main(directory):
    """Run every scenario as this rank."""
    rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    training_runs.meet(rank, world_size)
    directory = Path(directory)
    task = Task("train", rank, world_size, local_rank=rank)
    answers = {}

    for precision in ("32-true", "bf16-mixed"):
        module, trainer = train(
            equal_weights(rank, world_size),
            directory,
            OPTIONS,
            model=Normless(),
            task=task,
            precision=precision,
        )
        answers[precision] = {
            "weights": dict(module.state_dict()),
            "metrics": {key: float(value) for key, value in trainer.callback_metrics.items()},
            "global_step": trainer.global_step,
        }
    module, trainer = train(
        equal_weights(rank, world_size), directory, OPTIONS, model=Normless(), task=task, strategy="ddp"
    )
    answers["lightning's ddp"] = {"weights": dict(module.state_dict())}

    skipping, without = Trace(), Trace()
    good = [batch(index, rows=slice(rank, None, 2)) for index in range(4)]
    bad = [*good[:2], batch(2, bad=rank == 1, rows=slice(rank, None, 2)), *good[3:]]
    accumulating = config({"accum_grad_steps": 2})
    train(bad, directory, accumulating, trace=skipping, task=task)
    train([*good[:2], good[3]], directory, accumulating, trace=without, task=task)
    answers["skipping"] = {"bad": skipping.states, "without": without.states}

    different, model = Trace(), Gan()
    mixed = [batch(0), batch(1, BOTH if rank else BOTH[::-1])]
    try:
        train(mixed, directory, trace=different, task=task, model=model)
    except AssertionError as error:
        answers["different"] = {
            "error": str(error),
            "batches": len(different.states),
            "before": {name: state["weights"] for name, state in different.states[-1].items()},
            "after": {name: [p.detach() for p in getattr(model, name).parameters()] for name in BOTH},
            "gradients": [name for name, p in model.named_parameters() if p.grad is not None],
        }

    module, _ = train(
        equal_weights(rank, world_size),
        directory,
        config({"accum_grad_steps": 2, "optimizer": SGD}),
        model=Sparse(),
        task=task,
    )
    answers["sparse"] = {"weights": dict(module.state_dict())}
    try:
        train(good, directory, config({"optimizer": SPARSE_ADAM}), task=task)
    except UserError as error:
        answers["sparse adam"] = str(error)

    adding = Added()
    module, _ = train(
        equal_weights(rank, world_size), directory, OPTIONS, model=Frozen(), task=task, callbacks=[adding]
    )
    answers["added"] = {"weights": dict(module.state_dict()), "hooks": adding.norms}

    counted = Collectives()
    train(good, directory, accumulating, callbacks=[counted], task=task)
    answers["collectives"] = counted.batches

    torch.save(answers, directory / f"rank-{rank}.pt")
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1])
