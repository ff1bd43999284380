"""What a checkpoint holds beyond Lightning's: per rank, the random generators and the epoch's sums so far.

Small parts only, gathered from all ranks into the one file. Held gradients are not among them; a
checkpoint is therefore written between updates (see `run_checkpoint`).
"""

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.distributed
from lightning.pytorch import Trainer

from espnet3.components.modeling.lightning_module import ESPnetLightningModule

KEY = "espnet3_ranks"


def gather_run_state(trainer: Trainer, module: ESPnetLightningModule) -> list[dict[str, Any]]:
    """The state of every rank, in order of rank, as plain data; a collective."""
    own = {
        "random": random_state(),
        "train_sums": module.train_sums.state_dict(),
        "window": module.window.state_dict(),
    }
    if trainer.world_size == 1:
        return [own]
    states: list[Any] = [None] * trainer.world_size
    torch.distributed.all_gather_object(states, own)
    return states


def restore_run_state(states: list[dict[str, Any]], trainer: Trainer, module: ESPnetLightningModule) -> None:
    """Set this rank's state; with another number of ranks than before, only what does not depend on it."""
    if len(states) != trainer.world_size:
        return
    own = states[trainer.global_rank]
    module.train_sums.load_state_dict(own["train_sums"])
    module.window.load_state_dict({**own["window"], "held": 0})
    set_random_state(own["random"])  # last: nothing of the above may draw


def random_state() -> dict[str, Any]:
    """The states of Python's, NumPy's, torch's and CUDA's generators, in types that `weights_only` reads."""
    numpy_state: Mapping[str, Any] = np.random.get_state(legacy=False)  # type: ignore[assignment]
    inner = numpy_state["state"]
    return {
        "python": random.getstate(),
        "numpy": {
            "key": torch.from_numpy(inner["key"].astype(np.int64)),
            "pos": int(inner["pos"]),
            "has_gauss": int(numpy_state["has_gauss"]),
            "gauss": float(numpy_state["gauss"]),
        },
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
    }


def set_random_state(state: Mapping[str, Any]) -> None:
    """Set what `random_state` gave."""
    random.setstate(state["python"])
    numpy_state = state["numpy"]
    np.random.set_state(
        (
            "MT19937",
            numpy_state["key"].numpy().astype(np.uint32),
            numpy_state["pos"],
            numpy_state["has_gauss"],
            numpy_state["gauss"],
        )
    )
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
