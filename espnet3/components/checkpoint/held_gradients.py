"""Gradients between two updates of the parameters: what each rank holds, in files of its own.

They are as large as the model and differ between ranks, so they are not gathered. Rank 0's are in the
checkpoint itself; every other rank writes a part beside it. The checkpoint is written last, and names the
parts with their sizes and checksums: it is their manifest.
"""

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch.distributed
from torch import Tensor

from espnet3.components.checkpoint.atomic_io import AtomicCheckpointIO
from espnet3.components.checkpoint.folder import part_name
from espnet3.components.modeling.lightning_module import ESPnetLightningModule
from espnet3.components.modeling.named.named_optimizer import restored_gradient
from espnet3.rundir.files.reading import cannot_read

KEY = "espnet3_held"
SINGLE = ""
"""The name under which the gradients of a single, unnamed optimizer are held."""

Held = dict[str, dict[str, Tensor]]
"""Gradients by optimizer name, then by parameter name."""


def held_gradients(module: ESPnetLightningModule) -> Held:
    """This rank's gradients that wait for an update; empty between updates."""
    if module.named is not None:
        return module.named.engine.held_gradients()
    if not module.window.held:
        return {}
    parameters = module.model.named_parameters()
    return {SINGLE: {name: p.grad for name, p in parameters if p.grad is not None}}


def set_held_gradients(module: ESPnetLightningModule, held: Held) -> None:
    """Restore what `held_gradients` returned."""
    if module.named is not None:
        module.named.engine.set_held_gradients(held)
        return
    gradients = held.get(SINGLE, {})
    for name, parameter in module.model.named_parameters():
        gradient = gradients.get(name)
        parameter.grad = None if gradient is None else restored_gradient(parameter, gradient)


def save_held(checkpoint: dict[str, Any], target: Path, held: Held, *, rank: int, world_size: int) -> None:
    """Add the gradients to the checkpoint to be written to `target`, or to a part beside it; a collective.

    Raises:
        UserError: the part could not be written.
    """
    own: dict[str, Any] | None = None
    if rank > 0 and held:
        part = target.with_name(part_name(target.name, rank))
        AtomicCheckpointIO().save_checkpoint({KEY: held}, part)
        own = {"file": part.name, "bytes": part.stat().st_size, "crc32": checksum(part)}
    parts: list[Any] = [own]
    if world_size > 1:
        parts = [None] * world_size
        torch.distributed.all_gather_object(parts, own)
    checkpoint[KEY] = {"own": held if rank == 0 else {}, "parts": [part for part in parts if part]}


def check_parts(checkpoint: Mapping[str, Any], directory: Path) -> str | None:
    """What is wrong with the parts that the checkpoint names; None when they are whole.

    Raises:
        UserError: one can't be read now.
    """
    try:
        written = [
            (directory / part["file"], part["bytes"], part["crc32"])
            for part in checkpoint.get(KEY, {}).get("parts", ())
        ]
    except (AttributeError, KeyError, TypeError):
        return "what it says of its parts is damaged"
    for path, size, crc32 in written:
        try:
            if path.stat().st_size != size or checksum(path) != crc32:
                return f"{path.name} is not the file that was written"
        except FileNotFoundError:
            return f"{path.name} is missing"
        except OSError as error:
            raise cannot_read(error, path) from error
    return None


def load_held(checkpoint: Mapping[str, Any], directory: Path, *, rank: int, world_size: int) -> Held:
    """What this rank held; with another number of ranks than before, its share of the sum over them."""
    saved = checkpoint.get(KEY, {"own": {}, "parts": []})
    parts: Sequence[Mapping[str, Any]] = saved["parts"]
    ranks = 1 + len(parts)
    if not saved["own"] or ranks == world_size:
        return saved["own"] if rank == 0 else _read(directory / parts[rank - 1]["file"]) if parts else {}
    total: Held = {
        name: {key: value.clone() for key, value in own.items()} for name, own in saved["own"].items()
    }
    for part in parts:
        for name, gradients in _read(directory / part["file"]).items():
            into = total.setdefault(name, {})
            for key, value in gradients.items():
                into[key] = into[key] + value if key in into else value
    # Named optimizers sum gradients that each rank divided by the number of ranks then; DDP takes the mean
    # of undivided gradients over the ranks that there are now.
    for name, gradients in total.items():
        for value in gradients.values():
            value /= ranks if name == SINGLE else world_size
    return total


def checksum(path: Path) -> int:
    """CRC-32 of a file."""
    value = 0
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            value = zlib.crc32(chunk, value)
    return value


def _read(path: Path) -> Held:
    held: Held = AtomicCheckpointIO().load_checkpoint(path)[KEY]
    return held
