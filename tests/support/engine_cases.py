"""A GAN whose losses reach both networks, and engines that train it on one rank; not a test."""

import copy

import torch
from torch import nn

from espnet3.components.modeling.named.engine import NamedOptimizers
from espnet3.components.modeling.optimization_spec import OptimizationStep
from espnet3.config.checks.named_optimizers import read_named_config

ADAM = {"_target_": "torch.optim.AdamW", "lr": 0.01}


class Gan(nn.Module):
    """Both losses reach both networks' parameters, and share the generator's forward pass."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.generator = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 4))
        self.discriminator = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))

    def losses(self, index):
        x = torch.sin(torch.arange(24.0).reshape(6, 4) * (1 + index))
        fake = self.generator(x)
        judged = self.discriminator(fake)
        return {
            "generator": -judged.mean() + (fake - x).square().mean(),
            # Not detached: it reaches the generator through a part of the graph that both share.
            "discriminator": judged.mean() - self.discriminator(x).mean() + judged.square().mean(),
        }


def make_engine(model, generator=None, discriminator=None, schedulers=None, connect=None):
    config = {
        "optimizers": {
            "generator": {"optimizer": ADAM, "params": "generator", **(generator or {})},
            "discriminator": {"optimizer": ADAM, "params": "discriminator", **(discriminator or {})},
        },
        "schedulers": schedulers,
    }
    engine = NamedOptimizers(model, read_named_config(config))
    engine.connect(**(connect or {}))
    return engine


def run(engine, model, names, index):
    losses = model.losses(index)
    return engine.run([OptimizationStep(losses[name], name) for name in names])


def state_of(named):
    """Everything of one optimizer that another must leave alone, as copies."""
    return copy.deepcopy(
        {
            "parameters": [p.detach() for p in named.parameters],
            "gradients": [p.grad for p in named.parameters],
            "optimizer": named.optimizer.state_dict(),
            "scheduler": named.schedule.scheduler.state_dict() if named.schedule else None,
            "own": named.state_dict(),
        }
    )


def same(a, b):
    """Whether two nested structures hold the same bits."""
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return a == b


BATCHES = [
    ["discriminator", "generator"],
    ["generator"],
    ["generator", "discriminator"],
    ["discriminator"],
    ["discriminator", "generator"],
    ["generator"],
    ["discriminator", "generator"],
    ["generator", "discriminator"],
]
