"""What several gloo ranks do with named optimizers; not a test itself.

    python rank_scenarios.py DIRECTORY      as one of several ranks, by RANK, WORLD_SIZE, RENDEZVOUS

A rank's answers, by scenario, are DIRECTORY/rank-<r>.pt.
"""

import os
import sys
from pathlib import Path

import torch
import torch.distributed
from torch import nn

from engine_cases import state_of
from espnet3.components.modeling.named.engine import NamedOptimizers
from espnet3.components.modeling.named.routing import Router, read_steps
from espnet3.components.modeling.optimization_spec import OptimizationStep
from espnet3.config.checks.named_optimizers import read_named_config

ADAM = {"_target_": "torch.optim.AdamW", "lr": 0.01}
SGD = {"_target_": "torch.optim.SGD", "lr": 0.1}  # unlike Adam it sees the scale of gradients
NAMES = ["generator", "discriminator"]
BATCHES = [
    ["discriminator", "generator"],
    ["generator"],
    ["generator", "discriminator"],
    ["discriminator"],
    ["discriminator", "generator"],
    ["discriminator", "generator"],
]
UTTERANCES = 8


class Gan(nn.Module):
    """Losses of one forward pass; `rare` is used only where a rank is told to, `never` nowhere."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.generator = nn.ModuleDict(
            {
                "never": nn.Linear(4, 4),
                "net": nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 4)),
                "rare": nn.Linear(4, 4),
            }
        )
        self.discriminator = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))

    def losses(self, x, rare=False):
        fake = self.generator["net"](x)
        if rare:
            fake = fake + self.generator["rare"](x)
        judged = self.discriminator(fake)
        return {
            "generator": -judged.mean() + (fake - x).square().mean(),
            "discriminator": judged.mean() - self.discriminator(x).mean() + judged.square().mean(),
        }


def features(index, rank=0, world_size=1):
    """This rank's part of batch `index`, (B, 4)."""
    x = torch.sin(torch.arange(UTTERANCES * 4.0).reshape(UTTERANCES, 4) * (1 + index))
    return x[rank::world_size]


def make_engine(model, *, generator=None, discriminator=None, **connect):
    """The engine of `model` with these options."""
    optimizers = {
        "generator": {"optimizer": ADAM, "params": "generator", **(generator or {})},
        "discriminator": {"optimizer": SGD, "params": "discriminator", **(discriminator or {})},
    }
    engine = NamedOptimizers(model, read_named_config({"optimizers": optimizers}))
    engine.connect(bucket_bytes=64, **connect)  # several buckets even here
    return engine


OPTIONS = {
    "generator": {"accum_grad_steps": 2, "gradient_clip_val": 0.05},
    "discriminator": {"step_every_n_iters": 2},
}


def train(rank=0, world_size=1, rare_on=(0,)):
    """Weights, everything of each optimizer, and sent buckets of a training, after each batch."""
    model = Gan()
    engine = make_engine(model, **OPTIONS, world_size=world_size)
    weights, states, sent = [], [], []
    for index, names in enumerate(BATCHES):
        losses = model.losses(features(index, rank, world_size))
        with counted_collectives() as count:
            engine.run([OptimizationStep(losses[name], name) for name in names])
        sent.append(len(count))
        weights.append([parameter.detach().clone() for parameter in model.parameters()])
        states.append({named.name: state_of(named) for named in engine.values()})
    return {"weights": weights, "states": states, "sent": sent}


class counted_collectives:
    """Notes each all_reduce that is started inside: whether a backward pass is running, and its size."""

    def __enter__(self):
        self.real = torch.distributed.all_reduce
        calls = []

        def all_reduce(tensor, *args, **kwargs):
            calls.append((torch._C._current_graph_task_id() != -1, tensor.numel()))
            return self.real(tensor, *args, **kwargs)

        torch.distributed.all_reduce = all_reduce
        return calls

    def __exit__(self, *_):
        torch.distributed.all_reduce = self.real


def overlap(rank, world_size):
    """Per all_reduce of one update of both: was a backward pass still running."""
    model = Gan()
    engine = make_engine(model, world_size=world_size)
    losses = model.losses(features(0, rank, world_size))
    with counted_collectives() as calls:
        engine.run([OptimizationStep(losses["discriminator"], "discriminator")])
    return calls


def absent(rank, world_size):
    """A module used on the last rank only, and one used nowhere."""
    model = Gan()
    engine = make_engine(model, world_size=world_size)
    before = [parameter.detach().clone() for parameter in model.generator["never"].parameters()]
    for index in range(2):
        losses = model.losses(features(index, rank, world_size), rare=rank == world_size - 1)
        engine.run([OptimizationStep(losses["generator"], "generator")])
    optimizer = engine["generator"].optimizer
    return {
        "weights": [parameter.detach() for parameter in model.parameters()],
        "never_moved": all(
            torch.equal(a, b) for a, b in zip(before, model.generator["never"].parameters(), strict=True)
        ),
        "never_has_state": any(p in optimizer.state for p in model.generator["never"].parameters()),
        "rare_has_state": all(p in optimizer.state for p in model.generator["rare"].parameters()),
    }


def union_with_rare_zero(world_size):
    """What `absent` comes to on one rank: the mean of the ranks' losses, by hand."""
    model = Gan()
    engine = make_engine(model)
    for index in range(2):
        losses = [
            model.losses(features(index, rank, world_size), rare=rank == world_size - 1)["generator"]
            for rank in range(world_size)
        ]
        engine.run([OptimizationStep(torch.stack(losses).mean(), "generator")])
    return [parameter.detach() for parameter in model.parameters()]


def routed(rank, world_size, loss, **flags):
    """What routing `loss` came to: the error, or names, nonfinite and flags; and who has gradients."""
    model = Gan()
    losses = model.losses(features(0, rank, world_size))
    router = Router(NAMES)
    with counted_collectives() as calls:
        try:
            result = router.route(
                lambda: read_steps(loss(losses), NAMES),
                flags,
                device=torch.device("cpu"),
                world_size=world_size,
            )
            told = ([step.name for step in result.steps], result.nonfinite, result.flags)
        except AssertionError as error:
            told = str(error)
    return {"told": told, "collectives": len(calls)}


def main(directory):
    """Run every scenario as this rank."""
    rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=os.environ["RENDEZVOUS"], rank=rank, world_size=world_size
    )
    last = rank == world_size - 1

    def steps(losses, *names):
        return [OptimizationStep(losses[name], name) for name in names]

    answers = {
        "train": train(rank, world_size),
        "overlap": overlap(rank, world_size),
        "absent": absent(rank, world_size),
        "alike": routed(rank, world_size, lambda x: steps(x, *NAMES), stop=last, due=3 * rank),
        "nan on one": routed(
            rank,
            world_size,
            lambda x: [OptimizationStep(x["generator"] * (float("nan") if last else 1), "generator")],
        ),
        "other names": routed(rank, world_size, lambda x: steps(x, *NAMES[: 1 if last else 2])),
        "other order": routed(rank, world_size, lambda x: steps(x, *(NAMES[::-1] if last else NAMES))),
        "wrong on one": routed(rank, world_size, lambda x: [] if last else steps(x, *NAMES)),
        "no graph on one": routed(
            rank,
            world_size,
            lambda x: [OptimizationStep(x["generator"].detach() if last else x["generator"], "generator")],
        ),
        "no graph": routed(
            rank, world_size, lambda x: [OptimizationStep(x["generator"].detach(), "generator")]
        ),
    }
    torch.save(answers, Path(directory) / f"rank-{rank}.pt")
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1])
