"""Puts a model's buffers back after a skipped batch: batch norm must not keep a NaN."""

import torch
from torch import Tensor
from torch.nn import Module


class KeptBuffers:
    """A copy of the buffers of `model` from before a batch."""

    def __init__(self, model: Module) -> None:
        self._model = model
        self._copies: list[Tensor] = []

    @torch.no_grad()
    def keep(self) -> None:
        """Copy the buffers as they are now; a model without any costs nothing."""
        buffers = list(self._model.buffers())
        if [_kind(buffer) for buffer in buffers] != [_kind(copy) for copy in self._copies]:
            self._copies = [buffer.clone() for buffer in buffers]
        elif buffers:
            torch._foreach_copy_(self._copies, buffers)

    @torch.no_grad()
    def restore(self) -> None:
        """Make the buffers what they were when `keep` was called last."""
        for buffer, copy in zip(self._model.buffers(), self._copies, strict=True):
            buffer.copy_(copy)


def _kind(tensor: Tensor) -> tuple[object, ...]:
    return tensor.shape, tensor.dtype, tensor.device
