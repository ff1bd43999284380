"""`init_from`: a model's first weights from a checkpoint."""

from pathlib import Path
from typing import Any

from torch import Tensor
from torch.nn import Module

from espnet3.components.checkpoint.reading import DamagedError, read_checkpoint
from espnet3.errors import UserError, no_file


def load_initial_weights(model: Module, path: str | Path) -> None:
    """Load `model`'s weights from a checkpoint of ours or Lightning's, or from a bare state dict.

    Raises:
        UserError: the file cannot be read as weights, or it is not exactly the model's: the message lists
            what is missing, what is unexpected and which shapes differ, and the model is unchanged.
    """
    if problem := no_file(path):
        raise UserError(f"init_from={path} {problem}: give a checkpoint of a training")
    try:
        content: Any = read_checkpoint(Path(path))
    except FileNotFoundError:
        raise UserError(f"init_from={path}: there is no such file") from None
    except DamagedError as error:
        raise UserError(f"init_from={path} holds no weights: {error}") from error
    weights = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise UserError(f"init_from={path} holds no weights: neither a checkpoint nor a state dict")
    differences = _differences(model.state_dict(), weights)
    if differences:
        raise UserError(f"init_from={path} does not fit {type(model).__name__}: {'; '.join(differences)}")
    model.load_state_dict(weights)


def _differences(own: dict[str, Tensor], given: dict[str, Tensor]) -> list[str]:
    missing = sorted(own.keys() - given.keys())
    unexpected = sorted(given.keys() - own.keys())
    shapes = [
        f"{key} is {tuple(given[key].shape)}, not {tuple(own[key].shape)}"
        for key in own
        if key in given and own[key].shape != given[key].shape
    ]
    differences = {"missing": missing, "unexpected": unexpected, "of another shape": shapes}
    return [f"{kind}: {', '.join(names)}" for kind, names in differences.items() if names]
