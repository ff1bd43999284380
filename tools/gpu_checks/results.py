"""What a training comes to: the same as elsewhere, in every precision, and after it was resumed."""

import copy
import os
import tempfile
from pathlib import Path

import torch
from torch import Tensor

import named_runs
import training_runs
from espnet3.components.checkpoint.run_checkpoint import RunCheckpoint
from gpu_checks.trainings import Device, assert_close, fit, gan_batches, weights

BOTH = ("discriminator", "generator")


def check_oracle() -> str:
    """Named optimizers, with clipping and accumulation, against plain PyTorch by torch.autograd.grad."""
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


def check_precision() -> str:
    """bf16-mixed and 16-mixed learn, by single and named optimizers; an overflow moves only its scale."""
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
