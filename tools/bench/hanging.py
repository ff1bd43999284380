"""Hangs on purpose, for tools/bench/hangs.py and the tests: a callback, and a preprocessor for workers.

A file `attempt-<n>` in their folder, "KIND RANK", has that rank hang in attempt n, in one of its next
batches; `began-<n>` says when. Kinds:

    stop      the process is stopped (SIGSTOP)
    left_out  the rank leaves a barrier of the others out
    worker    a worker of its data loader sleeps
    loop      an endless loop in the model
    lock      a lock is taken twice in C code, without the interpreter's lock
    gil       the same with the interpreter's lock, so that no Python code runs any more
"""

import ctypes
import os
import signal
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch.distributed
from lightning.pytorch import Callback
from torch.utils.data import get_worker_info

KINDS = ("stop", "left_out", "worker", "loop", "lock", "gil")


class Hangs(Callback):
    """Lets a rank hang."""

    def __init__(self, folder: str) -> None:
        self.folder, self.batches, self.is_done = Path(folder), 0, False

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        """Every second batch all ranks learn together what to do."""
        self.batches += 1
        if self.batches % 2:
            return
        self.attempt = os.environ["ESPNET3_STACKS"].split("/")[-2].rpartition("-")[2]
        file = self.folder / f"attempt-{self.attempt}"
        orders = [file.read_text().split() if trainer.is_global_zero and file.exists() else None]
        if trainer.world_size > 1:
            torch.distributed.broadcast_object_list(orders)
        kind, rank = orders[0] or ("", "")
        is_mine = rank == str(trainer.global_rank)
        if not kind or self.is_done or is_mine == (kind == "left_out"):
            return
        self.is_done = True
        if kind == "left_out":
            self.began()
            torch.distributed.barrier()
            raise AssertionError("the barrier was left by a rank that never came")
        self.began()
        if kind == "worker":
            (self.folder / f"worker-{rank}").touch()
        elif kind == "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        else:
            module.model.forward = partial(hang, kind)

    def began(self) -> None:
        """Note the time."""
        (self.folder / f"began-{self.attempt}").write_text(str(time.time()))


def hang(kind: str, **batch: Any) -> None:
    """A forward pass without end."""
    while kind == "loop":
        pass
    library = ctypes.CDLL(None) if kind == "lock" else ctypes.PyDLL(None)
    lock = (ctypes.c_byte * 64)()
    library.pthread_mutex_lock(lock)
    library.pthread_mutex_lock(lock)


class Naps:
    """A preprocessor that sleeps for ever, once, in a worker of a data loader, when told to."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def __call__(self, sample: dict[str, Any]) -> dict[str, Any]:
        """The sample as it is."""
        file = self.folder / f"worker-{os.environ.get('RANK', '0')}"
        if get_worker_info() is not None and file.exists():
            file.unlink()
            time.sleep(1e6)
        return sample
