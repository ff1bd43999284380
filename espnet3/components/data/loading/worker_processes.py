"""Starts the workers of a data loader: forked from the process of a single rank, else from a forkserver.

With several ranks a process has threads that communicate. A worker forked at the wrong moment inherits a lock
that is never released, and training hangs: with Python 3.11 before 3.11.10 the lock of the list of threads
(python/cpython#112275); torch warns of others with InfiniBand. A forkserver has no threads.
"""

import errno
import multiprocessing
import multiprocessing.forkserver
import multiprocessing.resource_tracker
import multiprocessing.util
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable
from functools import partial
from multiprocessing.context import BaseContext
from multiprocessing.queues import Queue
from multiprocessing.reduction import ForkingPickler
from typing import Any, NoReturn

from espnet3.errors import UserError
from espnet3.rundir.watch.stack_dump import dump_as_parent

PRELOADED = ["espnet3.components.data.loading.collate", "espnet3.components.data.combined_dataset"]
"""What every worker needs: the server imports it once, and torch with it."""
_STOP_SIGNALS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2}
"""Requests to stop often reach all processes of a job: ranks act on them, and still need their workers."""
_MAX_FOLDER_BYTES = 70
"""With what multiprocessing adds, the path of a socket may have 107 bytes."""


def worker_options(
    world_size: int, modules: Iterable[str], worker_init_fn: Callable[[int], None] | None = None
) -> dict[str, Any]:
    """The options of torch's DataLoader by which one of so many ranks starts its workers.

    Args:
        world_size: number of ranks.
        modules: what the workers import; the server imports them once, from now on, in the background.
        worker_init_fn: the user's, which is called too.
    """
    _make_socket_folder()
    if world_size == 1:
        return {
            "multiprocessing_context": multiprocessing.get_context("fork"),
            "worker_init_fn": partial(_init_forked_worker, worker_init_fn),
        }
    return {
        "multiprocessing_context": _server([*PRELOADED, *modules]),
        "worker_init_fn": partial(_init_worker, worker_init_fn),
    }


def _make_socket_folder() -> None:
    """Make it once for this process, its server and their workers, in /tmp where the path is too long."""
    before = tempfile.tempdir
    if len(os.fsencode(tempfile.gettempdir())) > _MAX_FOLDER_BYTES:
        tempfile.tempdir = "/tmp"
    try:
        multiprocessing.util.get_temp_dir()
    finally:
        tempfile.tempdir = before


def _server(modules: list[str]) -> BaseContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(modules)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    try:  # what is blocked when they start is blocked in them, and in their children
        for helper in (multiprocessing.resource_tracker, multiprocessing.forkserver):
            signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)  # the tracker's start unblocks some
            helper.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return context


def _init_forked_worker(worker_init_fn: Callable[[int], None] | None, worker_id: int) -> None:
    """In the worker of a single rank."""
    Queue._on_queue_feeder_error = staticmethod(_exit_unsent)  # type: ignore[attr-defined]
    if worker_init_fn is not None:
        worker_init_fn(worker_id)


def _exit_unsent(error: BaseException, item: Any) -> NoReturn:
    """End the worker when a batch can't be sent, such as with /dev/shm full.

    Python's own handler drops the batch, and the rank would wait for it for ever.
    """
    full = (isinstance(error, OSError) and error.errno == errno.ENOSPC) or "No space left" in str(error)
    advice = "; /dev/shm is full: ask for more memory, or give dataloader num_workers: 0" if full else ""
    print(f"a worker of the data loader can't send its batch: {error}{advice}", file=sys.stderr, flush=True)
    os._exit(1)


def _init_worker(worker_init_fn: Callable[[int], None] | None, worker_id: int) -> None:
    """In the worker: exit when the rank does, even if killed. Torch watches the server, which outlives it."""
    Queue._on_queue_feeder_error = staticmethod(_exit_unsent)  # type: ignore[attr-defined]
    rank = multiprocessing.parent_process()
    assert rank is not None
    dump_as_parent()

    def watch() -> None:
        rank.join()
        os._exit(1)

    threading.Thread(target=watch, name="watch-rank", daemon=True).start()
    if worker_init_fn is not None:
        worker_init_fn(worker_id)


def check_can_be_sent(where: str, *parts: Any) -> None:
    """Check that what is sent to a server's workers can be pickled.

    Raises:
        UserError: naming the loader `where` and the object that can't.
    """
    try:
        for part in parts:
            ForkingPickler.dumps(part)
    except Exception as error:  # whatever an object's own pickling raises
        raise UserError(
            f"{where}: with several ranks the data is sent to the workers, and cannot be pickled: {error};"
            " give num_workers: 0, or multiprocessing_context: fork, which may hang"
        ) from error
