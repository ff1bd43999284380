"""Where the checks run, and the small trainings that they make."""

import tempfile

import torch
from torch import Tensor, nn

import named_runs
import training_runs


class Device:
    """Where the checks run."""

    name = "cuda"

    @classmethod
    def is_gpu(cls) -> bool:
        """Whether that is a GPU."""
        return cls.name == "cuda"


def fit(batches: list, config: dict, model: nn.Module, **options: object) -> tuple:
    """Train on the device, as `training_runs.fit`."""
    accelerator = "gpu" if Device.is_gpu() else "cpu"
    directory = options.pop("directory", None)
    with tempfile.TemporaryDirectory() as scratch:
        return training_runs.fit(
            batches, directory or scratch, model=model, config=config, accelerator=accelerator, **options
        )


def gan_batches(count: int = 6) -> list:
    """Batches for the GAN of the tests, which name both optimizers."""
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
