"""Gradients over ranks: on streams of their own, and over NCCL."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

import named_runs
from espnet3.components.modeling.named.reduction import GradientReduction
from espnet3.components.modeling.optimization_spec import OptimizationStep
from espnet3.rundir.task import Task
from gpu_checks.trainings import Device, assert_close, fit, gan_batches, weights


def check_streams() -> str:
    """Gradients reduced during a long backward pass, also on a stream of its own, are those of autograd."""
    with process_group():
        torch.manual_seed(0)
        width = 2048 if Device.is_gpu() else 64
        model = nn.Sequential(*(nn.Linear(width, width) for _ in range(8))).to(Device.name)
        parameters = list(model.parameters())
        reduction = GradientReduction(parameters, bucket_bytes=1 << 20)
        for turn in range(20):
            x = torch.randn(256, width, device=Device.name)
            expected = torch.autograd.grad(model(x).square().mean(), parameters)
            stream = torch.cuda.Stream() if Device.is_gpu() and turn % 2 else None
            with on_stream(stream):
                loss = model(x).square().mean()
                with reduction.during_backward():
                    loss.backward()
                reduction.wait()
                found = [parameter.grad.clone() for parameter in parameters]
                model.zero_grad()
            for ours, theirs in zip(found, expected, strict=True):
                torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-6)
        reduction.remove()
    return "20 passes, on both kinds of stream" if Device.is_gpu() else "20 passes"


@contextmanager
def on_stream(stream: "torch.cuda.Stream | None") -> Iterator[None]:
    """Compute on a stream of its own; the default one waits for it, and it for that."""
    if stream is None:
        yield
        return
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        yield
    torch.cuda.current_stream().wait_stream(stream)


@contextmanager
def process_group() -> Iterator[None]:
    """A group of this process alone: NCCL's on a GPU."""
    backend = "nccl" if Device.is_gpu() else "gloo"
    with tempfile.TemporaryDirectory() as directory:
        torch.distributed.init_process_group(
            backend, init_method=f"file://{directory}/meeting", rank=0, world_size=1
        )
        try:
            yield
        finally:
            torch.distributed.destroy_process_group()


def check_nccl() -> str:
    """Two ranks over NCCL learn what one rank learns of the whole batch; also with a loss on the CPU."""
    if Device.is_gpu() and torch.cuda.device_count() < 2:
        return "left out: there is one GPU only"
    alone = named_runs.Normless()
    fit(gan_batches(), named_runs.config(), alone)
    with tempfile.TemporaryDirectory() as directory:
        shared = {
            **os.environ, "WORLD_SIZE": "2", "MEETING": f"file://{directory}/meeting",
            "RESULT": f"{directory}/weights.pt", "CHECK_DEVICE": Device.name,
        }  # fmt: skip
        ranks = [
            subprocess.Popen(
                [sys.executable, "-m", "gpu_checks.ranks"],
                env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            )
            for rank in range(2)
        ]
        codes = [rank.wait(timeout=200) for rank in ranks]
        assert codes == [0, 0], f"exit codes {codes}"
        for found in torch.load(f"{directory}/weights.pt"):
            assert_close(weights(alone), found, 1e-4)
    return "the same weights, also by a loss on the CPU"


def as_rank() -> None:
    """Train as one of two ranks; rank 0 saves the weights."""

    class OnHost(named_runs.Normless):
        """Its losses are computed on the CPU."""

        def forward(self, x: Tensor, names: list[str], **_: object) -> tuple:
            losses = self.losses(x)
            return [OptimizationStep(losses[name].cpu(), name) for name in names], {}, None

    Device.name = os.environ["CHECK_DEVICE"]
    rank = int(os.environ["RANK"])
    if Device.is_gpu():
        torch.cuda.set_device(rank)
    torch.distributed.init_process_group(
        "nccl" if Device.is_gpu() else "gloo", init_method=os.environ["MEETING"], rank=rank, world_size=2
    )
    found = []
    for model in (named_runs.Normless(), OnHost()):
        batches = named_runs.equal_weights(rank, 2)
        halves = [named_runs.batch(index, rows=slice(rank, None, 2)) for index in range(len(batches))]
        fit(halves, named_runs.config(), model, task=Task("train", rank, 2, local_rank=rank))
        found.append(weights(model))
    if rank == 0:
        torch.save(found, os.environ["RESULT"])
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    as_rank()
