"""A training whose processes are killed, or asked to stop, again and again until it ends; not a test."""

import io
import json
import logging
import os
import random
import signal
import sys
import time
import traceback
from collections import Counter
from dataclasses import dataclass
from itertools import count

import torch

from espnet3.components.checkpoint.background import writer_handle
from espnet3.components.checkpoint.newest_intact import read_whole
from espnet3.launcher.rank.task import install_stop_signals
from espnet3.rundir.records.outcome import EXIT_CODES
from espnet3.rundir.stop import Stopped
from espnet3.rundir.task import Task
from resume_ends import newest, torn
from resume_runs import StopAfter, train

STARTING, BETWEEN, WRITING, ASKED = "starting", "between", "writing", "asked"
"""When to kill: early in it, after a checkpoint, inside the write of one; or to ask by a signal."""
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)
LEAST_TORN = 5
"""So many kills must leave a half-written file behind: they came inside a write for certain."""


def interrupted_often(case, corpus, home, *, world_size, kills, seed=0):
    """Kill -9 a training so many times, ask it to stop some times between, then let it come to its end.

    Returns:
        How often what was done: "kills", those that left a half-written file as "torn", and "asked".
    """
    rng = random.Random(seed)
    counts = Counter(kills=0, torn=0, asked=0)
    half_written = []
    while counts["kills"] < kills or counts["torn"] < LEAST_TORN or counts["asked"] < len(SIGNALS):
        assert counts["kills"] < 4 * kills, f"{counts}: hardly a kill came inside a write"
        before, moment = newest(home), rng.choice([STARTING, BETWEEN, WRITING, WRITING, ASKED])
        one = _Dies(rng.randrange(world_size), rng.randint(1, 3), rng.random())
        dies = one if moment == WRITING else None
        ranks = start(case, corpus, home, world_size, f"{sum(counts.values())}", dies=dies)
        _await(moment, home, ranks, rng)
        if newest(home) != before:
            assert not set(half_written) & set(torn(home)), "a start removes what a kill has left"
        if moment == ASKED:
            os.kill(rng.choice(ranks), SIGNALS[counts["asked"] % len(SIGNALS)])  # one rank: all stop
            assert set(ended(ranks)) == {EXIT_CODES["stopped"]}
            counts["asked"] += 1
            continue
        if dies:
            os.waitid(os.P_PID, ranks[dies.rank], os.WEXITED | os.WNOWAIT)
        first = ranks[dies.rank] if dies else rng.choice(ranks)
        for rank in sorted(ranks, key=lambda rank: rank != first):
            os.kill(rank, signal.SIGKILL)
            time.sleep(rng.choice([0, 0.02]))
        assert ended(ranks)[ranks.index(first)] == -signal.SIGKILL, f"{counts}: it had ended by itself"
        half_written = torn(home)
        counts["kills"] += 1
        counts["torn"] += bool(half_written)
        if name := newest(home):
            assert read_whole(home / "checkpoints" / name)[1] is None
    assert set(ended(start(case, corpus, home, world_size, "last"))) == {EXIT_CODES["done"]}
    return dict(counts)


@dataclass(frozen=True)
class _Dies:
    """A rank that kills itself inside a write, after a share of the file: from outside, it would be luck."""

    rank: int
    write: int
    """Which of its writes, from 1."""
    share: float

    def arm(self):
        """Kill this rank in its own writes, which are of parts, and in those of its writer."""
        writer_handle._PROGRAM = _DYING.format(write=self.write, share=self.share)
        save, writes = torch.save, count(1)

        def save_or_die(value, file, **options):
            if not isinstance(file, io.BufferedWriter) or next(writes) < self.write:
                save(value, file, **options)
                return
            whole = io.BytesIO()
            save(value, whole)
            file.write(whole.getbuffer()[: int(self.share * whole.tell())])
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)

        torch.save = save_or_die


_DYING = """
import itertools, os, signal, sys
sys.path.append(sys.argv[1])
from espnet3.components.checkpoint.background import writer_process
from espnet3.rundir.files.atomic import temporary_beside
write, writes = writer_process.write, itertools.count(1)
def write_or_die(archive, target):
    if next(writes) < {write}:
        return write(archive, target)
    temporary_beside(target).write_bytes(archive[: int({share} * len(archive))])
    os.kill(int(sys.argv[2]), signal.SIGKILL)
    while True:
        signal.pause()
writer_process.write = write_or_die
writer_process.main(int(sys.argv[2]), int(sys.argv[3]))
"""
"""A writer that kills the training after a share of a file; the kernel kills it then."""


def start(case, corpus, home, world_size, attempt, *, stop_after=0, seen=None, dies=None):
    """Fork the ranks of an attempt: the modules are there already. They meet by a file, not by a port.

    Args:
        case: which configuration; checkpoints after every batch.
        corpus: its data.
        home: its run directory.
        world_size: number of ranks.
        attempt: a name that no attempt before has had.
        stop_after: each rank asks to stop in so many batches.
        seen: where each rank leaves which utterances it was trained on, and what it warned of.
        dies: how one of them kills itself.

    Returns:
        Their process ids.
    """
    meeting = home.with_name(f"{home.name}-meeting-{attempt}")
    tasks = [Task("train", rank, world_size, rank) for rank in range(world_size)]
    return [_fork(case, corpus, home, task, meeting, stop_after, seen, dies) for task in tasks]


def ended(ranks):
    """Wait for all; their exit codes, negative for a signal."""
    return [os.waitstatus_to_exitcode(os.waitpid(rank, 0)[1]) for rank in ranks]


def _fork(case, corpus, home, task, meeting, stop_after, seen, dies):
    child = os.fork()
    if child:
        return child
    code = EXIT_CODES["failed"]
    try:
        install_stop_signals(task.stop)
        if dies and dies.rank == task.rank:
            dies.arm()
        if seen is not None:
            logging.basicConfig(filename=seen.with_name(f"{seen.name}-{task.rank}.log"))
        if task.world_size > 1:
            torch.distributed.init_process_group(
                "gloo", init_method=f"file://{meeting}", rank=task.rank, world_size=task.world_size
            )
        StopAfter.seen = []
        train(case, corpus, home, task, stop_after, every_n_batches=1)
        code = EXIT_CODES["done"]
    except Stopped:
        code = EXIT_CODES["stopped"]
    except BaseException:
        traceback.print_exc()
    finally:
        if seen is not None:
            seen.with_name(f"{seen.name}-{task.rank}.json").write_text(json.dumps(StopAfter.seen))
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _await(moment, home, ranks, rng):
    """Wait for the moment; those who die by themselves choose theirs."""
    if moment == WRITING:
        return
    if moment == STARTING:
        time.sleep(rng.uniform(0, 0.3))
        return
    wanted = rng.randint(moment == ASKED, 2)  # checkpoints before it: signals are handled from then on
    before = newest(home)
    while wanted and not _is_over(ranks):
        now = newest(home)
        wanted, before = wanted - (now != before), now
        time.sleep(0.001)
    time.sleep(rng.uniform(0, 0.01))


def _is_over(ranks):
    """Whether the first rank has ended by itself."""
    return os.waitid(os.P_PID, ranks[0], os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
