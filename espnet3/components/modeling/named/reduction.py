"""Sums one named optimizer's gradients over ranks while the backward pass is still running."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from operator import is_
from typing import Any

import torch
import torch.distributed
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer, SparseAdam

from espnet3.components.modeling.named.graph import reached
from espnet3.errors import UserError

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
    nothing is read from the device by a rank that has all gradients. The sum of sparse gradients is dense.

    Where parameters never had a gradient, `expect` finds those that the next pass will not come to: no bucket
    waits for them, and if all ranks expect the same (`agreed`), what the buckets carry need not be read.

    Args:
        parameters: in the order of the model; buckets are filled from the last to the first, which is
            about the order of a backward pass.
        bucket_bytes: a bucket is closed when it holds at least so much.
        process_group: None is the default group; gloo or NCCL.
    """

    def __init__(
        self, parameters: Sequence[Parameter], *, bucket_bytes: int, process_group: Any = None
    ) -> None:
        self._parameters = tuple(parameters)
        self._buckets = [_Bucket(chunk, process_group) for chunk in _chunks(parameters, bucket_bytes)]
        self._is_open = False
        self._next = 0
        self._unseen = set(self._parameters)
        """Those that no pass has given a gradient yet."""
        self._is_first = True
        self._unreached: set[Parameter] = set()
        self.agreed = False
        """Whether all ranks expect the same parameters to have no gradient in the next pass."""
        self._hooks = [
            parameter.register_post_accumulate_grad_hook(self._hook(bucket))  # type: ignore[no-untyped-call]
            for bucket in self._buckets
            for parameter in bucket.parameters
        ]

    def expect(self, loss: Tensor) -> int:
        """Look which parameters will have no gradient in the next pass, that of this loss.

        Only those count that never had one: what a reentrant checkpoint holds is seen in the first pass only.

        Returns:
            A positive number that stands for these parameters; 0 when there are none, or before a first pass.
        """
        self.agreed, self._unreached = False, set()
        if self._is_first or not self._unseen:
            return 0
        candidates = [(i, p) for i, p in enumerate(self._parameters) if p in self._unseen and p.grad is None]
        comes_to = reached(loss, [parameter for _, parameter in candidates])
        unreached = [entry for entry, comes in zip(candidates, comes_to, strict=True) if not comes]
        self._unreached = {parameter for _, parameter in unreached}
        indexes = ",".join(str(index) for index, _ in unreached)
        digest = hashlib.blake2b(indexes.encode(), digest_size=7).digest()
        return 1 + int.from_bytes(digest, "big") if unreached else 0

    def is_of(self, parameters: Sequence[Parameter]) -> bool:
        """Whether it sums the gradients of these, in this order."""
        return len(parameters) == len(self._parameters) and all(map(is_, parameters, self._parameters))

    @contextmanager
    def during_backward(self) -> Iterator[None]:
        """Send the gradients while the backward pass inside completes them; all are being sent after it.

        Raises:
            RuntimeError: the pass comes to a parameter that its graph does not have.
        """
        for bucket in self._buckets:
            bucket.pending = len(bucket.parameters)
            if self._unreached:
                bucket.pending -= len(self._unreached.intersection(bucket.parameters))
        self._next = 0
        self._send_complete()
        self._is_open = True
        try:
            yield
        finally:
            self._is_open = False
        self._is_first = False
        for bucket in self._buckets[self._next :]:  # with gradients that the pass did not touch
            bucket.send()

    def wait(self) -> None:
        """Wait until every gradient is the sum over ranks."""
        for bucket in self._buckets:
            bucket.wait()
        known = self._unreached if self.agreed else set()
        unsure = [bucket for bucket in self._buckets if not known.issuperset(bucket.missing)]
        if unsure:
            ranks = torch.cat([bucket.flags.float() for bucket in unsure]).tolist()
            for bucket in unsure:
                bucket.fill(ranks[: len(bucket.parameters)])
                del ranks[: len(bucket.parameters)]
        self.agreed, self._unreached = False, set()

    def remove(self) -> None:
        """Remove the hooks from the parameters."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    def _hook(self, bucket: "_Bucket") -> Any:
        def on_gradient(parameter: Tensor) -> None:
            if not self._is_open:
                return
            if self._unseen:
                self._see(parameter)
            bucket.pending -= 1
            if not bucket.pending:
                self._send_complete()

        return on_gradient

    def _see(self, parameter: Tensor) -> None:
        if parameter in self._unreached:
            raise RuntimeError(
                f"a backward pass gives a gradient to a parameter of shape {tuple(parameter.shape)} for the"
                " first time, and its graph does not have it, as inside a reentrant checkpoint: give"
                " use_reentrant=False"
            )
        self._unseen.discard(parameter)  # type: ignore[arg-type]

    def _send_complete(self) -> None:
        """Send complete buckets, in the same order on all ranks, whatever order they are completed in."""
        while self._next < len(self._buckets) and not self._buckets[self._next].pending:
            self._buckets[self._next].send()
            self._next += 1


def refuse_sparse_adam(key: str, optimizer: Optimizer) -> None:
    """Refuse the optimizer that takes sparse gradients only: sums over ranks are dense.

    Raises:
        UserError: naming `key`, that of the configuration.
    """
    if isinstance(optimizer, SparseAdam):
        raise UserError(
            f"{key}: SparseAdam takes sparse gradients only, and several ranks sum theirs to dense ones:"
            " use torch.optim.Adam, or train on one rank"
        )


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
        self.missing: list[Parameter] = []
        """Those without gradient here, in what was sent last."""
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
        self.flags = self._buffer[end:]
        """How many ranks had each gradient, once they are received."""

    @torch.no_grad()
    def send(self) -> None:
        """Copy the gradients into the buffer and start summing it."""
        gradients, views = [], []
        self.missing = []
        self.flags.fill_(1)
        for index, (parameter, view) in enumerate(zip(self.parameters, self._views, strict=True)):
            if parameter.grad is None:
                self.missing.append(parameter)
                view.zero_()
                self.flags[index] = 0
            else:
                gradient = parameter.grad
                gradients.append(gradient.to_dense() if gradient.is_sparse else gradient)
                views.append(view)
                # The view becomes the gradient: no copy back, and the old one's memory is free at once.
                parameter.grad = view
        if gradients:
            torch._foreach_copy_(views, gradients)
        self._work = torch.distributed.all_reduce(self._buffer, group=self._process_group, async_op=True)

    def wait(self) -> None:
        """Wait for the sums."""
        self._work.wait()
        self._work = None

    def fill(self, ranks_with_gradient: Sequence[float]) -> None:
        """Give the sums to parameters without gradient here that had one on another rank."""
        for parameter, view, ranks in zip(self.parameters, self._views, ranks_with_gradient, strict=True):
            if ranks and parameter.grad is None:
                parameter.grad = view


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
