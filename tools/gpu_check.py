"""The checks of gpu_check.sh, one function each; without a GPU it says so and ends with code 2."""

import argparse
import copy
import os
import re
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

ROOT = Path(__file__).resolve().parents[1]
BOTH = ("discriminator", "generator")


def main() -> int:
    """Run the checks; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checks", nargs="*", metavar="CHECK")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--rehearse", action="store_true", help="on the CPU, what can be run there")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.checks if name not in CHECKS]
    if unknown:
        print(f"gpu_check.sh: there is no check {unknown[0]}; known are {', '.join(CHECKS)}", file=sys.stderr)
        return 2
    if arguments.list:
        for name, check in CHECKS.items():
            print(f"{name:<12} {(check.__doc__ or '').splitlines()[0]}")
        return 0
    if "RANK" in os.environ:  # one of the ranks that `nccl` starts
        as_rank()
        return 0
    if not torch.cuda.is_available() and not arguments.rehearse:
        print("gpu_check.sh: PyTorch sees no GPU here: nothing was checked", file=sys.stderr)
        return 2
    Device.name = "cpu" if arguments.rehearse else "cuda"
    failed = []
    for name in arguments.checks or CHECKS:
        began = time.monotonic()
        try:
            said = CHECKS[name]()
        except Exception:
            traceback.print_exc()
            failed.append(name)
            said = "FAILED"
        print(f"{name:<12} {said} ({time.monotonic() - began:.0f} s)", flush=True)
    print(f"failed: {', '.join(failed)}" if failed else "all went well")
    return 1 if failed else 0


class Device:
    """Where the checks run."""

    name = "cuda"

    @classmethod
    def is_gpu(cls) -> bool:
        """Whether that is a GPU."""
        return cls.name == "cuda"


# --- trainings ----------------------------------------------------------------------------------------------


def fit(batches: list, config: dict, model: nn.Module, **options: object) -> tuple:
    """Train on the device, as `training_runs.fit`."""
    import training_runs

    accelerator = "gpu" if Device.is_gpu() else "cpu"
    directory = options.pop("directory", None)
    with tempfile.TemporaryDirectory() as scratch:
        return training_runs.fit(
            batches, directory or scratch, model=model, config=config, accelerator=accelerator, **options
        )


def gan_batches(count: int = 6) -> list:
    """Batches for the GAN of the tests, which name both optimizers."""
    import named_runs

    return [named_runs.batch(index) for index in range(count)]


def weights(model: nn.Module) -> dict[str, Tensor]:
    """Copies of a model's weights on the host."""
    return {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}


def assert_close(ours: dict[str, Tensor], others: dict[str, Tensor], tolerance: float = 1e-5) -> None:
    """Compare weights; the message names the first that differs."""
    for name, value in ours.items():
        torch.testing.assert_close(
            value, others[name], rtol=tolerance, atol=tolerance, msg=lambda text, name=name: f"{name}: {text}"
        )


# --- checks -------------------------------------------------------------------------------------------------


def check_oracle() -> str:
    """Named optimizers, with clipping and accumulation, against plain PyTorch by torch.autograd.grad."""
    import named_runs

    for foreach in ({}, {"fused": True}) if Device.is_gpu() else ({},):
        ours = named_runs.Normless()
        plain = copy.deepcopy(ours).to(Device.name)
        config = named_runs.config({"accum_grad_steps": 2}, {"gradient_clip_val": 0.05})
        for entry in config["optimizers"].values():
            entry["optimizer"] = {**entry["optimizer"], **foreach}
        fit(gan_batches(), config, ours)
        held: list = []
        parameters = {name: list(getattr(plain, name).parameters()) for name in BOTH}
        optimizers = {name: torch.optim.AdamW(parameters[name], lr=0.01, **foreach) for name in BOTH}
        for _, data in gan_batches():
            losses = plain.losses(data["x"].to(Device.name))
            gradients = {
                name: torch.autograd.grad(losses[name], parameters[name], retain_graph=True) for name in BOTH
            }
            held.append(gradients["generator"])
            for parameter, gradient in zip(
                parameters["discriminator"], gradients["discriminator"], strict=True
            ):
                parameter.grad = gradient
            torch.nn.utils.clip_grad_norm_(parameters["discriminator"], 0.05)
            optimizers["discriminator"].step()
            if len(held) == 2:
                for parameter, *parts in zip(parameters["generator"], *held, strict=True):
                    parameter.grad = sum(parts) / 2
                optimizers["generator"].step()
                held = []
        assert_close(weights(ours), weights(plain))
    return "the same weights, also by fused optimizers" if Device.is_gpu() else "the same weights"


def check_reads() -> str:
    """Times that a batch waits for the GPU, by torch's sync debug mode, are at most those of the README."""
    if not Device.is_gpu():
        return "left out: there is no GPU"
    import counting_device
    import device_reads
    from espnet3.rundir.task import Task

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


def check_precision() -> str:
    """bf16-mixed and 16-mixed learn, by single and named optimizers; an overflow moves only its scale."""
    import named_runs
    import training_runs

    precisions = ("bf16-mixed", "16-mixed") if Device.is_gpu() else ("bf16-mixed",)
    for precision in precisions:
        for model, batches, config in (
            (named_runs.Normless(), gan_batches(), named_runs.config()),
            (training_runs.Linear(), [training_runs.data(index) for index in range(6)], {}),
        ):
            before = weights(model)
            fit(batches, config, model, precision=precision)
            after = weights(model)
            assert all(value.isfinite().all() for value in after.values()), f"{precision}: NaN in weights"
            assert any(not torch.equal(before[name], after[name]) for name in before), (
                f"{precision}: no update"
            )
    if not Device.is_gpu():
        return "bf16-mixed"
    model = named_runs.Normless()
    before = weights(model)
    big = [(uids, {**data, "x": data["x"] * 1e3}) for uids, data in gan_batches(2)]
    module, _ = fit(big, named_runs.config(), model, precision="16-mixed")
    scales = {named.name: named.loss_scale.scale for named in module.named.engine.values()}
    assert scales["generator"] < 65536.0, f"no overflow: {scales}"
    return f"both; after overflows the scales are {scales}"


def check_resume() -> str:
    """A training that is resumed after its first epoch ends with the weights of the undisturbed one."""
    import named_runs
    import training_runs
    from espnet3.components.checkpoint.run_checkpoint import RunCheckpoint

    class Dropout(named_runs.Normless):
        def losses(self, x: Tensor) -> dict[str, Tensor]:
            return super().losses(torch.nn.functional.dropout(x, 0.2))

    def run(directory: Path, epochs: int, last: Path | None = None) -> dict[str, Tensor]:
        torch.manual_seed(1)
        saving = RunCheckpoint(directory / "checkpoints", monitor="train/fake")
        model = Dropout()
        fit(
            gan_batches(), named_runs.config({"accum_grad_steps": 4}), model, directory=directory,
            callbacks=[saving], max_epochs=epochs, last=last, deterministic=True,
        )  # fmt: skip
        return weights(model)

    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    try:
        with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
            undisturbed = run(Path(one), 2)
            run(Path(two), 1)
            torch.manual_seed(77)
            resumed = run(Path(two), 2, Path(two) / "checkpoints" / "last.ckpt")
    finally:
        torch.use_deterministic_algorithms(False)
    assert training_runs.same(undisturbed, resumed), "the weights differ"
    return "bit for bit, with dropout and held gradients"


def check_streams() -> str:
    """Gradients reduced during a long backward pass, also on a stream of its own, are those of autograd."""
    from espnet3.components.modeling.named.reduction import GradientReduction

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
    import named_runs

    alone = named_runs.Normless()
    fit(gan_batches(), named_runs.config(), alone)
    with tempfile.TemporaryDirectory() as directory:
        shared = {
            **os.environ, "WORLD_SIZE": "2", "MEETING": f"file://{directory}/meeting",
            "RESULT": f"{directory}/weights.pt", "CHECK_DEVICE": Device.name,
        }  # fmt: skip
        ranks = [
            subprocess.Popen(
                [sys.executable, __file__], env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}
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
    import named_runs
    from espnet3.components.modeling.optimization_spec import OptimizationStep
    from espnet3.rundir.task import Task

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


def check_memory() -> str:
    """A backward pass frees the activations of a graph that later losses do not share."""
    if not Device.is_gpu():
        return "left out: there is no GPU"
    from espnet3.components.modeling.named.engine import NamedOptimizers
    from espnet3.components.modeling.optimization_spec import OptimizationStep
    from espnet3.config.checks.named_optimizers import read_named_config

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
    from espnet3.components.data.data_organizer import build_organizer
    from espnet3.components.data.loading.dataloader_builder import DataLoaderBuilder

    entry = {"name": "numbers", "dataset": {"_target_": "gpu_check.Numbers"}}
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


CHECKS: dict[str, Callable[[], str]] = {
    "oracle": check_oracle,
    "reads": check_reads,
    "precision": check_precision,
    "resume": check_resume,
    "streams": check_streams,
    "nccl": check_nccl,
    "memory": check_memory,
    "pinned": check_pinned,
    "cpu": check_cpu,
}

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))  # for `gpu_check.Numbers`
    sys.exit(main())
