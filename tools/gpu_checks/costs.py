"""What a training costs: waits for the GPU, memory, and contexts on GPUs that it does not use."""

import copy
import re
import subprocess
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

import counting_device
import device_reads
from espnet3.components.data.data_organizer import build_organizer
from espnet3.components.data.loading.dataloader_builder import DataLoaderBuilder
from espnet3.components.modeling.named.engine import NamedOptimizers
from espnet3.components.modeling.optimization_spec import OptimizationStep
from espnet3.config.checks.named_optimizers import read_named_config
from espnet3.rundir.task import Task
from gpu_checks.trainings import Device

ROOT = Path(__file__).resolve().parents[2]


def check_reads() -> str:
    """Times that a batch waits for the GPU, by torch's sync debug mode, are at most those of the README."""
    if not Device.is_gpu():
        return "left out: there is no GPU"
    rows = dict(
        re.findall(r"^\| ([\w ,-]+?) \| (\d \| \d) \| \d \| \d \|$", (ROOT / "README.md").read_text(), re.M)
    )
    assert rows.keys() >= device_reads.CASES.keys(), "the README has no table of reads"
    worse, task = [], Task.single("train")
    for case, options in device_reads.CASES.items():
        for kind, promised in zip(("single", "named"), rows[case].split(" | "), strict=True):
            counts: Counter = Counter()
            # Lightning's own GradScaler of a single optimizer reads once per update.
            allowed = int(promised) + (kind == "single" and case == "precision 16-mixed")
            with counting_syncs(counts, counting_device.READ), tempfile.TemporaryDirectory() as directory:
                found = device_reads.waits(kind, options, task, Path(directory), counts, "gpu")
            reads = {loop: waits[counting_device.READ] for loop, waits in found.items()}
            if reads["training"] > allowed or reads["validation"]:
                worse.append(f"{case}, {kind}: {reads}, the README says {promised}")
    assert not worse, "; ".join(worse)
    return f"{len(rows)} cases as in the README"


@contextmanager
def counting_syncs(counts: Counter, key: str) -> Iterator[None]:
    """Count the operations that make the host wait."""

    def show(message: object, *_: object, **__: object) -> None:
        counts[key] += "synchronizing CUDA operation" in str(message)

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = show  # type: ignore[assignment]
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode("default")


def check_memory() -> str:
    """A backward pass frees the activations of a graph that later losses do not share."""
    if not Device.is_gpu():
        return "left out: there is no GPU"

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = nn.Sequential(*(nn.Sequential(nn.Linear(256, 256), nn.Tanh()) for _ in range(16)))
            self.two = copy.deepcopy(self.one)

    sgd = {"_target_": "torch.optim.SGD", "lr": 0.1}
    model = Two().to(Device.name)
    config = {"optimizers": {name: {"optimizer": sgd, "params": name} for name in ("one", "two")}}
    engine = NamedOptimizers(model, read_named_config(config))
    engine.connect()
    x = torch.randn(1 << 14, 256, device=Device.name)
    before = torch.cuda.memory_allocated()
    losses = {name: getattr(model, name)(x).square().mean() for name in ("one", "two")}
    held = torch.cuda.memory_allocated() - before
    second: list[int] = []
    losses["two"].register_hook(lambda _: second.append(torch.cuda.memory_allocated() - before))
    engine.run([OptimizationStep(losses[name], name) for name in ("one", "two")])
    assert second[0] < 0.7 * held, f"{second[0]} of {held} bytes are held during the second backward pass"
    return f"{second[0] / held:.0%} are left for the second backward pass"


def check_pinned() -> str:
    """Batches are in pinned memory in a training on a GPU, and only there."""
    entry = {"name": "numbers", "dataset": {"_target_": "gpu_checks.costs.Numbers"}}
    target = "espnet3.components.data.data_organizer.DataOrganizer"
    if Device.is_gpu():
        torch.cuda.init()
    loader = DataLoaderBuilder(build_organizer({"_target_": target, "train": [entry]}), {}).build("train")
    _, data = next(iter(loader))
    assert data["x"].is_pinned() is Device.is_gpu()
    return "they are" if Device.is_gpu() else "not without a GPU"


class Numbers:
    """Samples of one number."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> dict[str, object]:
        return {"uid": str(index), "x": torch.full((3,), float(index)).numpy()}


def check_cpu() -> str:
    """A training on the CPU, checkpoints included, makes no context on a GPU that is there."""
    program = (
        "import pathlib, tempfile, torch, training_runs\n"
        "from espnet3.components.checkpoint.run_checkpoint import RunCheckpoint\n"
        "with tempfile.TemporaryDirectory() as directory:\n"
        "    saving = RunCheckpoint(pathlib.Path(directory) / 'checkpoints', monitor='train/loss')\n"
        "    training_runs.fit([training_runs.data(0)], directory, callbacks=[saving])\n"
        "raise SystemExit(torch.cuda.is_initialized())\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:] or "CUDA was initialized"
    return "none"
