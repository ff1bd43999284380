"""Sums one named optimizer's gradients over ranks while the backward pass is still running."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed
from torch import Tensor
from torch.nn import Parameter

BUCKET_BYTES = {"gloo": 4 << 20, "nccl": 25 << 20}
"""Smaller buckets are sent earlier, larger ones have less overhead; with gloo the computing cores also send.
Other backends use NCCL's."""
ALIGNMENT = 64
"""Bytes at which a gradient begins inside a bucket, so that vectorized kernels can read it."""


class GradientReduction:
    """All-reduces (SUM) the gradients of `parameters` in buckets that are fixed from the start.

    For an update, every rank runs the backward pass inside `during_backward()`, then calls `wait()`. A bucket
    is sent as soon as its gradients are complete and all buckets before it are sent; the end of
    `during_backward` sends the rest. Other backward passes send nothing.

    A gradient that is None on some ranks counts as zero there; one that is None on all ranks stays None.
    Each bucket carries which of its gradients were there, so this costs no further collective, and
    nothing is read from the device by a rank that has all gradients.

    Args:
        parameters: in the order of the model; buckets are filled from the last to the first, which is
            about the order of a backward pass.
        bucket_bytes: a bucket is closed when it holds at least so much.
        process_group: None is the default group; gloo or NCCL.
    """

    def __init__(
        self, parameters: Sequence[Parameter], *, bucket_bytes: int, process_group: Any = None
    ) -> None:
        self._buckets = [_Bucket(chunk, process_group) for chunk in _chunks(parameters, bucket_bytes)]
        self._is_open = False
        self._next = 0
        self._hooks = [
            parameter.register_post_accumulate_grad_hook(self._hook(bucket))  # type: ignore[no-untyped-call]
            for bucket in self._buckets
            for parameter in bucket.parameters
        ]

    @contextmanager
    def during_backward(self) -> Iterator[None]:
        """Send the gradients while the backward pass inside completes them; all are being sent after it."""
        for bucket in self._buckets:
            bucket.pending = len(bucket.parameters)
        self._next = 0
        self._is_open = True
        try:
            yield
        finally:
            self._is_open = False
        for bucket in self._buckets[self._next :]:  # with gradients that the pass did not touch
            bucket.send()

    def wait(self) -> None:
        """Wait until every gradient is the sum over ranks."""
        for bucket in self._buckets:
            bucket.receive()

    def remove(self) -> None:
        """Remove the hooks from the parameters."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    def _hook(self, bucket: "_Bucket") -> Any:
        def on_gradient(_: Tensor) -> None:
            if not self._is_open:
                return
            bucket.pending -= 1
            if bucket.pending:
                return
            # In the same order on all ranks, whatever the order in which buckets are completed.
            while self._next < len(self._buckets) and not self._buckets[self._next].pending:
                self._buckets[self._next].send()
                self._next += 1

        return on_gradient


def default_bucket_bytes() -> int:
    """The bucket size for the backend of torch.distributed's default group."""
    backend = torch.distributed.get_backend() if torch.distributed.is_initialized() else ""
    return BUCKET_BYTES.get(backend, BUCKET_BYTES["nccl"])


class _Bucket:
    """Parameters of one type on one device, a flat buffer with a view for each gradient, and flags."""

    def __init__(self, parameters: Sequence[Parameter], process_group: Any) -> None:
        self.parameters = list(parameters)
        self.pending = 0
        self._process_group = process_group
        self._work: Any = None
        self._missing: list[int] = []
        first = self.parameters[0]
        step = max(1, ALIGNMENT // first.element_size())
        offsets, end = [], 0
        for parameter in self.parameters:
            offsets.append(end)
            end += -(-parameter.numel() // step) * step
        self._buffer = torch.zeros(end + len(self.parameters), dtype=first.dtype, device=first.device)
        self._views = [
            _view(self._buffer, offset, parameter)
            for offset, parameter in zip(offsets, self.parameters, strict=True)
        ]
        self._flags = self._buffer[end:]

    @torch.no_grad()
    def send(self) -> None:
        """Copy the gradients into the buffer and start summing it."""
        gradients, views = [], []
        self._missing = []
        self._flags.fill_(1)
        for index, (parameter, view) in enumerate(zip(self.parameters, self._views, strict=True)):
            if parameter.grad is None:
                self._missing.append(index)
                view.zero_()
                self._flags[index] = 0
            else:
                gradients.append(parameter.grad)
                views.append(view)
                # The view becomes the gradient: no copy back, and the old one's memory is free at once.
                parameter.grad = view
        if gradients:
            torch._foreach_copy_(views, gradients)
        self._work = torch.distributed.all_reduce(self._buffer, group=self._process_group, async_op=True)

    def receive(self) -> None:
        """Wait for the sums."""
        self._work.wait()
        self._work = None
        if self._missing:
            ranks_with_gradient = self._flags.tolist()
            for index in self._missing:
                if ranks_with_gradient[index]:
                    self.parameters[index].grad = self._views[index]


def _view(buffer: Tensor, offset: int, parameter: Tensor) -> Tensor:
    """A view of the buffer for the parameter, with its strides as far as they leave no holes."""
    strides = torch.empty_like(parameter, device="meta").stride()
    return buffer.as_strided(parameter.shape, strides, offset)


def _chunks(parameters: Iterable[Parameter], bucket_bytes: int) -> list[list[Parameter]]:
    """Split into buckets of one type and device each, from the last parameter to the first."""
    open_chunks: dict[tuple[torch.dtype, torch.device], list[Parameter]] = {}
    sizes: dict[tuple[torch.dtype, torch.device], int] = {}
    chunks: list[list[Parameter]] = []
    for parameter in reversed(list(parameters)):
        kind = (parameter.dtype, parameter.device)
        open_chunks.setdefault(kind, []).append(parameter)
        sizes[kind] = sizes.get(kind, 0) + parameter.numel() * parameter.element_size()
        if sizes[kind] >= bucket_bytes:
            chunks.append(open_chunks.pop(kind))
            del sizes[kind]
    return chunks + list(open_chunks.values())
