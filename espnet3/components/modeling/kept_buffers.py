"""Puts a model's buffers back after a skipped batch: batch norm must not keep a NaN."""

import torch
from torch import Tensor
from torch.nn import Module


class KeptBuffers:
    """A copy of the buffers of `model` from before a batch."""

    def __init__(self, model: Module) -> None:
        self._model = model
        self._owners: list[Module] | None = None
        self._copies: list[Tensor] = []
        self._places: list[tuple[Module, str]] = []
        """Where each copy is from."""
        self._empty: list[tuple[Module, str]] = []
        """Buffers that are None."""

    def keep(self) -> None:
        """Copy the buffers as they are now; a model without any costs nothing."""
        if self._owners is None:  # once: walking through a large model takes longer than copying
            self._owners = [module for module in self._model.modules() if module._buffers]
        if self._owners:
            self._copy()

    @torch.no_grad()
    def _copy(self) -> None:
        buffers = self._buffers()
        if [_kind(buffer) for buffer in buffers] != [_kind(copy) for copy in self._copies]:
            self._copies = [buffer.clone() for buffer in buffers]
            names = [(module, name) for module in self._owners or () for name in module._buffers]
            self._empty = [(module, name) for module, name in names if getattr(module, name) is None]
            self._places = [place for place in names if place not in self._empty]
        elif buffers:
            torch._foreach_copy_(self._copies, buffers)

    @torch.no_grad()
    def restore(self) -> None:
        """Make the buffers what they were when `keep` was called last.

        One of another size that no checkpoint holds (`persistent=False`) is a cache, whose size the module
        may have noted elsewhere: it stays. Others get their former size back, as before a lazy filling.
        """
        for (module, name), copy in zip(self._places, self._copies, strict=True):
            buffer = getattr(module, name, None)
            if buffer is not None and _kind(buffer) == _kind(copy):
                buffer.copy_(copy)
            elif buffer is None or name in module.state_dict():
                setattr(module, name, copy.clone())
        for module, name in self._empty:
            if name in module.state_dict():
                setattr(module, name, None)

    def _buffers(self) -> list[Tensor]:
        every = (buffer for module in self._owners or () for buffer in module._buffers.values())
        return [buffer for buffer in every if buffer is not None]


def _kind(tensor: Tensor) -> tuple[object, ...]:
    return tensor.shape, tensor.dtype, tensor.device
