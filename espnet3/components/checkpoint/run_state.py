"""The state of each rank that Lightning's checkpoint lacks: random generators, the epoch so far, buffers.

Small parts only, gathered from all ranks into the one file; for what is as large as the model see
`held_gradients`.
"""

import random
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.distributed
from lightning.pytorch import Trainer
from torch import Tensor
from torch.nn import Module

from espnet3.components.gpu import uses_gpu
from espnet3.components.modeling.lightning_module import ESPnetLightningModule
from espnet3.components.modeling.metrics.metric_sums import MetricSums
from espnet3.components.trainers.lightning_internals import restore_callback_metrics

KEY = "espnet3_ranks"


def gather_run_state(
    trainer: Trainer, module: ESPnetLightningModule, *, random_before: Mapping[str, Any] | None = None
) -> list[dict[str, Any]]:
    """The state of every rank, in order of rank, as plain data; a collective.

    Args:
        trainer: its metrics and number of ranks.
        module: its epoch so far, and its model's buffers.
        random_before: what `random_state` returned before something that will be run again.
    """
    own = {
        "random": random_before or random_state(),
        "progress": module.progress_state(),
        "metrics": {
            key: value.detach().cpu() if isinstance(value, Tensor) else value
            for key, value in sorted(trainer.callback_metrics.items())
        },
    }
    if trainer.world_size == 1:
        return [{**own, "buffers": {}}]
    checksums = _gather(_checksums(module.model), trainer.world_size)
    buffers = dict(module.model.named_buffers())
    own["buffers"] = {  # those of rank 0 are in the model's state
        name: buffers[name].detach().cpu()
        for name, checksum in checksums[trainer.global_rank].items()
        if checksum != checksums[0].get(name)
    }
    return _gather(own, trainer.world_size)


def restore_metrics(states: list[dict[str, Any]], trainer: Trainer) -> None:
    """Make the last logged metrics those of the checkpoint; training need not go on from it."""
    if trainer.global_rank < len(states):
        metrics = states[trainer.global_rank]["metrics"]
        restore_callback_metrics(trainer, metrics)


def restore_run_state(states: list[dict[str, Any]], trainer: Trainer, module: ESPnetLightningModule) -> None:
    """Restore this rank's state, right before the first batch.

    With another number of ranks than before, rank 0 takes the sums of all, and a new rank keeps its own
    random generators and buffers.
    """
    rank, known = trainer.global_rank, len(states)
    own = states[rank] if rank < known else None
    progress = dict((own or states[0])["progress"])
    if known != trainer.world_size:
        progress["train_sums"] = MetricSums().state_dict()
        if rank == 0:
            progress["train_sums"] = MetricSums.added(state["progress"]["train_sums"] for state in states)
    module.load_progress_state(progress)
    if own is None:
        return
    with torch.no_grad():
        buffers = dict(module.model.named_buffers())
        for name, saved in own["buffers"].items():
            buffers[name].copy_(saved)
    set_random_state(own["random"])  # last: the code above may draw random numbers


def random_state() -> dict[str, Any]:
    """The states of Python's, NumPy's, torch's and CUDA's generators, in types that `weights_only` reads."""
    numpy_state: Mapping[str, Any] = np.random.get_state(legacy=False)  # type: ignore[assignment]
    inner = numpy_state["state"]
    version, python, gauss = random.getstate()
    return {
        # as a tensor: hundreds of single numbers take as long to write as a small model
        "python": {"version": version, "state": torch.tensor(python), "gauss": gauss},
        "numpy": {
            "key": torch.from_numpy(inner["key"].astype(np.int64)),
            "pos": int(inner["pos"]),
            "has_gauss": int(numpy_state["has_gauss"]),
            "gauss": float(numpy_state["gauss"]),
        },
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if uses_gpu() else None,
    }


def set_random_state(state: Mapping[str, Any]) -> None:
    """Restore what `random_state` returned."""
    python = state["python"]
    random.setstate((python["version"], tuple(python["state"].tolist()), python["gauss"]))
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
    if state["cuda"] is not None and uses_gpu():
        torch.cuda.set_rng_state(state["cuda"])


def _checksums(model: Module) -> dict[str, int]:
    """CRC-32 of the buffers that a checkpoint holds: most models have large ones, equal on all ranks."""
    persistent = model.state_dict().keys()
    return {
        name: zlib.crc32(buffer.detach().cpu().reshape(-1).contiguous().view(torch.uint8).numpy().tobytes())
        for name, buffer in model.named_buffers()
        if name in persistent
    }


def _gather(own: Any, world_size: int) -> list[Any]:
    gathered: list[Any] = [None] * world_size
    torch.distributed.all_gather_object(gathered, own)
    return gathered
