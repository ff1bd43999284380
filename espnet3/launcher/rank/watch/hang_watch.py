"""The watcher of a rank: a process of its own, which no interpreter that hangs can stop.

It is forked from the rank before that has threads, reads the rank's `Activity`, and where the rank stands
still for long, describes how, in the attempt's folder (`stall-<rank>.json`). Who follows the attempt decides,
on the descriptions of all ranks. It ends with the rank.
"""

import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import NoReturn

from espnet3.launcher.rank.interrupts import STOP_SIGNALS
from espnet3.launcher.rank.watch.process_facts import children_of, facts_of
from espnet3.launcher.rank.watch.stall_limits import StallLimits
from espnet3.outcomes.hang import UNHURRIED_S
from espnet3.parent_death import signal_on_parent_death
from espnet3.rundir.records.stall import Stall, stall_path, write_stall
from espnet3.rundir.watch.activity import Activity
from espnet3.rundir.watch.stack_dump import dump_on_signal

_REFRESH = 0.5
"""A rank that stands still is described again when this share of the timeout has passed, and at its limit."""
_ANSWER_WITHIN_S = 1.0


def watch_for_hangs(
    activity: Activity,
    directory: Path,
    rank: int,
    node: str,
    timeout_s: float | None,
) -> Callable[[Callable[[], tuple[int, int] | None]], None]:
    """Fork the watcher of this process; it must not have threads yet.

    Args:
        activity: is moved to shared memory.
        directory: the attempt's.
        rank: which rank this process is.
        node: its name.
        timeout_s: `trainer.hang_timeout_s`; None: automatic.

    Returns:
        A function that starts a thread here, which tells the watcher what a function says of collectives:
        how many were started and completed. Without an answer the watcher does without.
    """
    activity.share()
    dump = directory / f"stacks-{rank}.txt"
    dump_on_signal(dump)
    pid = os.getpid()
    rank_end, watcher_end = socket.socketpair()
    sys.stdout.flush()
    sys.stderr.flush()
    if os.fork():
        watcher_end.close()
        return lambda collectives: answer(rank_end, collectives)
    try:
        signal_on_parent_death(signal.SIGKILL, pid)
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
        rank_end.close()
        _watch(activity, directory, dump, rank, node, pid, StallLimits(timeout_s), watcher_end)
    except BaseException:  # the process ends here, and does not go on as a second rank
        traceback.print_exc()
    finally:
        os._exit(1)


def answer(rank_end: socket.socket, collectives: Callable[[], tuple[int, int] | None]) -> None:
    """Answer the watcher's questions, in a thread."""
    import threading

    def serve() -> None:
        while rank_end.recv(1):
            counts = collectives()
            rank_end.sendall(f"{counts[0]} {counts[1]}\n".encode() if counts else b"\n")

    threading.Thread(target=serve, name="tell-collectives", daemon=True).start()


def _watch(
    activity: Activity,
    directory: Path,
    dump: Path,
    rank: int,
    node: str,
    pid: int,
    limits: StallLimits,
    rank_socket: socket.socket,
) -> NoReturn:
    every_s = min(1.0, max(0.05, limits.least_s / 20))
    before, still_s, next_at_s = activity.read(), 0.0, 0.0
    limits.seen((0,) * len(before.left), before.left, 0.0)
    woke_at = time.monotonic()
    while True:
        time.sleep(every_s)
        now, slept_s = activity.read(), time.monotonic() - woke_at
        woke_at += slept_s
        # A watcher that slept for longer was stopped itself, as all of the run may be.
        still_s += min(slept_s, 2 * every_s)
        if now != before:
            limits.seen(before.left, now.left, still_s)
            before, still_s = now, 0.0
            if next_at_s:
                next_at_s = 0.0
                stall_path(directory, rank).unlink(missing_ok=True)
            continue
        least_s = limits.least_s if now.phase not in ("start", "end") else max(limits.least_s, UNHURRIED_S)
        if still_s < max(least_s, next_at_s):
            continue
        limit_s, next_at_s = limits.of(now.phase), still_s + _REFRESH * least_s
        if still_s < limit_s < next_at_s:
            next_at_s = limit_s
        processes = [facts_of(one, dump) for one in (pid, *children_of(pid, without=os.getpid()))]
        started, completed = _ask(rank_socket) if processes[0].state not in ("T", "t") else (None, None)
        stall = Stall(
            rank=rank,
            node=node,
            phase=now.phase,
            epoch=now.epoch,
            batch=now.batch,
            still_s=still_s,
            limit_s=limit_s,
            is_automatic=limits.timeout_s is None,
            processes=[asdict(process) for process in processes],
            started=started,
            completed=completed,
        )
        if activity.read() == now:
            with suppress(OSError):  # a full disk does not end the watcher
                write_stall(directory, stall)


def _ask(rank_socket: socket.socket) -> tuple[int | None, int | None]:
    """How many collectives the rank has started and completed; None if it can't say."""
    rank_socket.settimeout(0)
    with suppress(OSError):
        rank_socket.recv(4096)  # an answer that came too late
    rank_socket.settimeout(_ANSWER_WITHIN_S)
    try:
        rank_socket.sendall(b"?")
        started, completed = rank_socket.recv(100).split()
        return int(started), int(completed)
    except (OSError, ValueError):
        return None, None
