"""Measures checkpoints of a large state: stall of training, the process that writes, memory, and kills."""

import os
import random
import resource
import shutil
import signal
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

EVERY_S = 10.0
"""Seconds between two checkpoints, for which the cost is computed."""
NAMES = ("epoch=1-step=1.ckpt", "epoch=2-step=2.ckpt")


def channels_for(megabytes: int) -> int:
    """Channels of TEMPLATE's model whose weights and Adam's state are so large: 392 parameters each."""
    return int(megabytes * 1e6 / 12 / 392)


def measure_stalls(config: Any) -> None:
    """Train an epoch with a checkpoint every few batches; each beside a copy of its state, in pairs."""
    from espnet3.components.checkpoint.atomic_io import tensor_bytes
    from espnet3.components.checkpoint.background.background_io import BackgroundCheckpointIO
    from espnet3.components.checkpoint.run_checkpoint import RunCheckpoint
    from espnet3.rundir.task import Task
    from espnet3.stages import train

    saves: list[tuple[float, float]] = []
    copies: list[tuple[float, float]] = []
    clones: list[tuple[float, float]] = []
    writes: list[tuple[float, float]] = []
    into: list[Any] = []
    sizes: list[int] = []
    save = RunCheckpoint._save

    def timed_save(self: Any, trainer: Any, *arguments: Any, **options: Any) -> None:
        io: BackgroundCheckpointIO = trainer.strategy.checkpoint_io
        saves.append(_timed(lambda: save(self, trainer, *arguments, **options)))
        writes.append(_timed(io.wait))
        state = [*trainer.lightning_module.state_dict().values()]
        for values in trainer.optimizers[0].state.values():
            state += [value for value in values.values() if hasattr(value, "numel")]
        if not into:
            into.extend(tensor.clone() for tensor in state)
        clones.append(_timed(lambda: [tensor.clone() for tensor in state]))
        copies.append(_timed(lambda: [to.copy_(tensor) for to, tensor in zip(into, state, strict=True)]))
        assert io._snapshot is not None
        sizes[:] = [os.fstat(io._snapshot.descriptor).st_blocks * 512, tensor_bytes(state)]

    Path(config.exp_dir).mkdir(parents=True)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with patch.object(RunCheckpoint, "_save", timed_save):
        train.run(config, Task.single("train"))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    writer_s = (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / len(saves)
    stall, stall_cpu = _medians(saves[1:])
    copy, copy_cpu = _medians(copies[1:])
    print(f"checkpoint of {sizes[1] / 1e6:.0f} MB, {len(saves)} of them; medians, without the first")
    print(f"stall of training        {1e3 * stall:7.1f} ms, CPU time {1e3 * stall_cpu:7.1f} ms")
    print(f"  of the first           {1e3 * saves[0][0]:7.1f} ms, CPU time {1e3 * saves[0][1]:7.1f} ms")
    print(f"a copy of the state      {1e3 * copy:7.1f} ms, CPU time {1e3 * copy_cpu:7.1f} ms")
    new, new_cpu = _medians(clones[1:])
    print(f"  into new memory        {1e3 * new:7.1f} ms, CPU time {1e3 * new_cpu:7.1f} ms")
    print(f"ratio                    {stall / copy:7.2f},    of CPU time {stall_cpu / copy_cpu:7.2f}")
    print(f"  to new memory          {stall / new:7.2f},    of CPU time {stall_cpu / new_cpu:7.2f}")
    written = _medians(writes[1:])[0]
    print(f"written after            {1e3 * written:7.1f} ms more, CPU time {1e3 * writer_s:7.1f} ms")
    print(f"one every {EVERY_S:.0f} s costs      {100 * stall / EVERY_S:7.2f} % where the writer has a core")
    shared = (stall_cpu + writer_s) / EVERY_S
    print(f"                         {100 * shared:7.2f} % of CPU time where it shares the training's")
    print(f"memory for the copy      {sizes[0] / sizes[1]:7.2f} x the state")


def measure_kills(folder: Path, megabytes: int, kills: int) -> None:
    """Kill a process at random moments of the write of its second checkpoint: its writer goes with it."""
    import torch

    from espnet3.components.checkpoint.reading import read_checkpoint
    from espnet3.rundir.files.atomic import remove_torn

    states = [torch.full((megabytes * 250_000,), value) for value in (1.0, 2.0)]
    torn = complete = 0
    chosen = random.Random(0)
    write_s = 0.2
    for _ in range(kills):
        shutil.rmtree(folder, ignore_errors=True)
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            os.close(reader)
            _save_twice(folder, states, writer)
        os.close(writer)
        write_s = float(os.read(reader, 99) or write_s)
        time.sleep(chosen.uniform(0, write_s))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        while os.read(reader, 1):  # its writer has the pipe, too: at the end both are gone
            pass
        os.close(reader)
        torn += bool(list(folder.glob(".*.tmp")))
        remove_torn(folder)
        newest = folder / "last.ckpt"
        second = (folder / NAMES[1]).exists()
        complete += second
        for name, state in zip(NAMES, states, strict=True):
            if (folder / name).exists():
                assert torch.equal(read_checkpoint(folder / name)["w"], state), f"{name} is damaged"
        content = read_checkpoint(newest)["w"]
        assert any(torch.equal(content, state) for state in states)
        assert (folder / NAMES[0]).exists(), "the previous one is gone"
    print(f"{kills} kills during writes  {torn} left a part of a file, {complete} came after its rename;")
    print("                         the previous one intact, and equal in every bit, each time")


def _save_twice(folder: Path, states: list[Any], pipe: int) -> None:
    """Save, say how long the write takes as the second begins, and wait for the end."""
    from espnet3.components.checkpoint.background.background_io import BackgroundCheckpointIO
    from espnet3.components.checkpoint.background.completion import Completion
    from espnet3.components.checkpoint.ranking import Ranking

    os.set_inheritable(pipe, True)
    io = BackgroundCheckpointIO()
    completion = Completion(Ranking("valid/loss", "min"), False, 2)
    for name, state in zip(NAMES, states, strict=True):
        io.save_checkpoint({"w": state}, folder / name, completion)
        if name == NAMES[0]:
            io.wait()
            io.save_checkpoint({"w": state}, folder / name, completion)
            wall, _ = _timed(io.wait)
    os.write(pipe, f"{wall}".encode())
    while True:
        signal.pause()


def _timed(call: Callable[[], object]) -> tuple[float, float]:
    """Seconds of a call by the clock, and of CPU time."""
    clock, cpu = time.perf_counter(), time.thread_time()
    call()
    return time.perf_counter() - clock, time.thread_time() - cpu


def _medians(times: list[tuple[float, float]]) -> tuple[float, float]:
    return statistics.median(wall for wall, _ in times), statistics.median(cpu for _, cpu in times)
