"""A device that computes on the CPU and counts what a GPU would make the host wait for; not a test itself.

    enable(); with counting() as counts: Trainer(accelerator="counting")...

Its tensors are of device `counting:0` for all that asks, and every operation on them comes by here. It is
enabled once, for the whole process: only processes that a test starts for it do so.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from lightning.pytorch.accelerators import Accelerator, AcceleratorRegistry
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

NAME = "counting"
READ = "reads"
"""Device to host: the host waits until the device has computed the value."""
WRITE = "blocking copies"
"""Host to device from memory that is not pinned: the host waits for the device's queue, too."""
WAITS = {"_local_scalar_dense", "nonzero", "masked_select", "equal", "_unique2", "unique_dim"}


class OnDevice(torch.Tensor):
    """A tensor of the device; `host` has its values."""

    @staticmethod
    def __new__(cls, host: torch.Tensor) -> "OnDevice":
        return torch.Tensor._make_wrapper_subclass(
            cls, host.size(), strides=host.stride(), dtype=host.dtype, device=torch.device(NAME, 0)
        )

    def __init__(self, host: torch.Tensor) -> None:
        self.host = host

    def tolist(self):
        """As a tensor of any other device does it."""
        return self.cpu().tolist()

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        with counting() as counted:
            return counted.call(function, args, kwargs or {})


class Counting(TorchDispatchMode):
    """Runs operations of the device, and counts the waits."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        return self.call(function, args, kwargs or {})

    def call(self, function, args, kwargs):
        """Run one operation: on the device if it makes or takes a tensor of it."""
        target = kwargs.get("device")
        to_device = target is not None and torch.device(target).type == NAME
        tensors = [leaf for leaf in torch.utils._pytree.tree_leaves((args, kwargs)) if _is_tensor(leaf)]
        if not to_device and not any(isinstance(tensor, OnDevice) for tensor in tensors):
            return function(*args, **kwargs)
        self._count(function, args, kwargs, target)
        host_args, host_kwargs = tree_map_only(OnDevice, lambda tensor: tensor.host, (args, kwargs))
        if to_device:
            host_kwargs["device"] = "cpu"
        result = function(*host_args, **host_kwargs)
        if function._schema.name.startswith("c10d::"):
            return result if isinstance(result, torch.ScriptObject) else _same(result, args)
        returned = function._schema.returns
        if returned and returned[0].alias_info is not None and returned[0].alias_info.is_write:
            return kwargs.get("out", args[0])
        if target is not None and not to_device:
            return result.clone()
        return tree_map_only(torch.Tensor, OnDevice, result)

    def _count(self, function, args, kwargs, target) -> None:
        name = function._schema.name.removeprefix("aten::")
        waits = not kwargs.get("non_blocking", False)
        if name in WAITS:
            self.counts[READ] += 1
        elif name == "_to_copy" and target is not None:
            from_device = isinstance(args[0], OnDevice)
            if from_device and torch.device(target).type == "cpu":
                self.counts[READ] += waits
            elif not from_device:
                self.counts[WRITE] += waits
        elif name in ("copy_", "_foreach_copy_"):
            into, source = (value if isinstance(value, list | tuple) else [value] for value in args[:2])
            blocking = not (args[2] if len(args) > 2 else kwargs.get("non_blocking", False))
            for one, other in zip(into, source, strict=True):
                if isinstance(one, OnDevice) != isinstance(other, OnDevice):
                    self.counts[WRITE if isinstance(one, OnDevice) else READ] += blocking
        elif name in ("index", "index_put_"):
            indexes = [index for index in args[1] if isinstance(index, OnDevice)]
            self.counts[READ] += any(index.dtype == torch.bool for index in indexes)


_active: list[Counting] = []


@contextmanager
def counting() -> Iterator[Counting]:
    """Count inside, on this thread and on those of its backward passes."""
    if _active:
        yield _active[-1]
        return
    mode = Counting()
    _active.append(mode)
    try:
        with mode:
            yield mode
    finally:
        _active.pop()


class CountingAccelerator(Accelerator):
    """Lightning's view of the device: one for each rank."""

    def setup_device(self, device: torch.device) -> None:
        """Nothing to set up."""

    def teardown(self) -> None:
        """Nothing to free."""

    @staticmethod
    def parse_devices(devices):
        return int(devices)

    @staticmethod
    def get_parallel_devices(devices):
        return [torch.device(NAME, 0)] * devices

    @staticmethod
    def auto_device_count() -> int:
        return 1

    @staticmethod
    def is_available() -> bool:
        return True

    @staticmethod
    def name() -> str:
        return NAME


def enable() -> None:
    """Make the device known to torch and to Lightning."""
    _setup_privateuseone_for_python_backend(NAME)
    AcceleratorRegistry.register(NAME, CountingAccelerator)
    # `torch.tensor(1.0, device=...)` makes its copy where no dispatch mode looks.
    _LIBRARY.impl("empty_strided", _empty, "PrivateUse1")
    _LIBRARY.impl("_copy_from", _copy_from, "PrivateUse1")


_LIBRARY = torch.library.Library("aten", "IMPL")


def _empty(size, stride, *, dtype=None, layout=None, device=None, pin_memory=None):
    return OnDevice(torch.empty_strided(size, stride, dtype=dtype))


def _copy_from(source, into, non_blocking=False):
    with counting() as counted:
        counted.counts[WRITE if isinstance(into, OnDevice) else READ] += not non_blocking
    host = source.host if isinstance(source, OnDevice) else source
    (into.host if isinstance(into, OnDevice) else into).copy_(host)
    return into


def _is_tensor(leaf: object) -> bool:
    return isinstance(leaf, torch.Tensor)


def _same(result, args):
    """What a collective returns: the tensors that it was given, and its handle."""
    if isinstance(result, tuple):
        return tuple(args[0] if isinstance(part, list | torch.Tensor) else part for part in result)
    return result
