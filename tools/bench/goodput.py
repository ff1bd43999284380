"""Measures which share of the time between faults a training keeps, or computes it for large clusters.

    python tools/bench/goodput.py [--nodes N] [--tasks T] [--kills K] [--requeues R] [--every S]
                                  [--checkpoint-every S]
    python tools/bench/goodput.py --extrapolate [--run DIR] > extrapolation.md

The recipe egs/TEMPLATE, with batches of 0.1 s, is trained on a real cluster: that of SLURM_CONF, else one of
tools/slurm, which is started and ended by this script. Every S seconds a rank is killed (SIGKILL), each time
another one; after that, R times, the job is requeued instead. Shown are the ledger of the run as in `espnet3
status --goodput`, how far it is from sacct's time of the job, what a fault costs, and the share of the time
between two faults that is kept: that is neither start-up, work done again, hang, stopping nor idle.

--extrapolate prints a page for 1,024 and 16,384 GPUs instead, from published times between failures and
from costs that are measured (--run: a run directory with restarts), given, or assumed, which it says.
"""

import argparse
import math
import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from launch import Bench, check, slurm_cluster, wait_for, wait_until
from recovery import kill_rank, wait_for_checkpoint

WASTED = ("startup", "lost", "hang", "stopping", "idle")
PACED = """
import time
from pathlib import Path
from lightning.pytorch import Callback

class Paced(Callback):
    def on_train_batch_end(self, trainer, *_):
        time.sleep(0.1)

    def on_train_epoch_end(self, trainer, *_):
        trainer.should_stop = trainer.strategy.broadcast(Path(trainer.default_root_dir, "end").exists())
"""
LLAMA_H = 54 * 24 / 419
SOURCES = (
    (1024, 7.9, "Meta's research clusters, projected (Kokolis et al., arXiv 2410.21680)"),
    (1024, LLAMA_H * 16, "Llama 3, scaled from 16,384 GPUs: failures in proportion to GPUs (assumed)"),
    (16384, 1.8, "Meta's research clusters, projected (Kokolis et al., arXiv 2410.21680)"),
    (16384, LLAMA_H, "Llama 3: 419 unexpected interruptions in 54 days (arXiv 2407.21783)"),
)
"""GPUs, mean hours between two failures of a job on all of them, and who says so."""


def main() -> None:
    """Print the ledger and the share, or the page."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--nodes", type=int, default=2)
    parser.add_argument("--tasks", type=int, default=2, help="on each node")
    parser.add_argument("--kills", type=int, default=2)
    parser.add_argument("--requeues", type=int, default=0)
    parser.add_argument("--every", type=float, default=300.0, help="seconds between two kills")
    parser.add_argument("--checkpoint-every", type=float, default=5.0, help="seconds")
    parser.add_argument("--extrapolate", action="store_true", help="print a page for large clusters")
    parser.add_argument("--run", type=Path, help="run directory from which --extrapolate takes the costs")
    parser.add_argument("--restart", type=float, default=10.0, help="seconds, where there is no --run")
    parser.add_argument("--stall", type=float, default=0.1, help="seconds each, where there is no --run")
    arguments = parser.parse_args()
    if arguments.extrapolate:
        print(page(arguments))
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))  # and end the cluster
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with tempfile.TemporaryDirectory() as folder, slurm_cluster():
        measure(Path(folder), arguments)


def measure(folder: Path, arguments: argparse.Namespace) -> None:
    """Train, kill, and print."""
    bench = Bench(folder, arguments.nodes, arguments.tasks)
    (bench.recipe / "paced.py").write_text(PACED)
    ranks = arguments.nodes * arguments.tasks
    bench.espnet3 += ["dataloader.train.batch_size=1", "+callbacks.paced._target_=paced.Paced"]
    bench.espnet3 += [f"checkpoint.every_minutes={arguments.checkpoint_every / 60}"]
    run = folder / "run"
    run.mkdir()
    job = bench.launch_espnet3(run, "true")
    try:
        wait_for(run / "marks", 1)
        began = time.time()
        faults = ["killed"] * arguments.kills + ["requeued"] * arguments.requeues
        for number, fault in enumerate(faults, start=1):
            time.sleep(max(0.0, began + number * arguments.every - time.time()))
            wait_for_checkpoint(run)
            at = time.time() - began
            if fault == "killed":
                kill_rank(run, number % ranks)
            else:
                check(["scontrol", "requeue", job])
            wait_for(run / "marks", number + 1)
            print(f"{fault} {at:.0f} s after the first batch", flush=True)
        time.sleep(max(0.0, began + (len(faults) + 1) * arguments.every - time.time()))
        (run / "end").touch()  # a cancelled job ends for sacct before its nodes are free
        wait_until(lambda: not check(["squeue", "--noheader", "--me"]), "the training to end")
    finally:
        check(["scancel", job])
        wait_until(lambda: not check(["squeue", "--noheader", "--me"]), "the job to end")
    wait_until(lambda: accounted_s(job) is not None, "sacct to have the end")
    report(run, job, arguments)


def report(run: Path, job: str, arguments: argparse.Namespace) -> None:
    """Print the ledger by the files alone, sacct's time, and what they come to."""
    from espnet3.status.goodput.facts import read_facts
    from espnet3.status.goodput.ledger import ledger
    from espnet3.status.goodput.table import goodput_lines

    rows = ledger(read_facts(run), time.time())
    for line in goodput_lines("goodput, by the files of the run alone", rows, 80):
        print("".join(text for text, _ in line))
    held, known = sum(row.held_s for row in rows), accounted_s(job) or math.nan
    print(f"\non nodes: {held:.1f} s by the ledger, {known:.0f} s by sacct, ratio {held / known:.4f}")
    found = costs(rows)
    print(
        f"a fault costs {found['restart']:.1f} s of restart and {found['lost']:.1f} s of lost work;", end=" "
    )
    print(f"a checkpoint every {arguments.checkpoint_every:g} s takes {found['stalled']:.2%} of the time")
    for every in dict.fromkeys([arguments.every, 300.0]):
        kept = 1 - (found["restart"] + found["lost"]) / every
        print(f"one fault every {every:g} s: kept {kept:.4f} of the time between faults")


def costs(rows: Any) -> dict[str, float]:
    """Mean seconds of restart and of lost work for each fault, and the share of checkpoint stalls."""
    trainings = [row for row in rows if row.seconds.get("training")]
    faults = max(1, len(trainings) - 1)
    wasted = sum(row.seconds.get(kind, 0.0) for row in trainings for kind in WASTED)
    lost = sum(row.seconds.get("lost", 0.0) for row in trainings[:-1])
    first, last = trainings[0].seconds, trainings[-1].seconds
    once = first.get("startup", 0.0) + sum(last.get(kind, 0.0) for kind in ("lost", "stopping", "hang"))
    planned = sum(
        row.seconds.get(kind, 0.0)
        for row in trainings
        for kind in ("training", "data", "validation", "checkpoint")
    )
    stalled = sum(row.seconds.get("checkpoint", 0.0) for row in trainings)
    return {
        "restart": max(0.0, wasted - lost - once) / faults,
        "lost": lost / faults,
        "stalled": stalled / planned,
    }


def accounted_s(job: str) -> float | None:
    """How long Slurm says that the job held its nodes, in seconds; None: it has not ended."""
    from espnet3.slurm.accounting import times_by_start

    starts = times_by_start([job]).values()
    if not starts or any(one.began_at is None or one.ended_at is None for one in starts):
        return None
    return sum((one.ended_at or 0.0) - (one.began_at or 0.0) for one in starts)


def goodput(failure_s: float, restart_s: float, stall_s: float) -> tuple[float, float]:
    """Interval of checkpoints and share of time that trains.

    Young's interval: sqrt(2 * stall * time between failures). Lost: a stall each interval; and for each
    failure a restart and half an interval of work.
    """
    interval = math.sqrt(2 * stall_s * failure_s)
    return interval, 1 - stall_s / interval - (restart_s + interval / 2) / failure_s


def page(arguments: argparse.Namespace) -> str:
    """The extrapolation as Markdown."""
    restart, stall, source = arguments.restart, arguments.stall, "given, or assumed"
    if arguments.run:
        from espnet3.status.goodput.facts import read_facts
        from espnet3.status.goodput.ledger import ledger

        rows = ledger(read_facts(arguments.run), time.time())
        if sum(bool(row.seconds.get("training")) for row in rows) < 2:
            sys.exit(f"{arguments.run} has no restarted training: give one that was killed once at least")
        restart, source = (
            costs(rows)["restart"],
            f"measured in {arguments.run}; the stall is given, or assumed",
        )
    cases = (
        ("as here", restart, stall),
        ("start-up of 2 minutes, stalls of 2 s", 120.0, 2.0),
        ("the same through the queue, 30 minutes", 120.0 + 1800.0, 2.0),
        ("the same, after 10 minutes of a watchdog", 120.0 + 1800.0 + 600.0, 2.0),
    )
    lines = [
        "# Goodput of large jobs, extrapolated",
        "",
        "Share of the wall time that trains: `1 - C / T - (R + T / 2) / M`, with",
        "",
        f"- `R`: seconds from a fault to the next batch. As here: {restart:.1f} s ({source}).",
        f"- `C`: seconds for which a checkpoint stops training. As here: {stall:g} s.",
        "- `M`: mean time between two failures of the job.",
        "- `T`: time between two checkpoints, `sqrt(2 * C * M)` (Young 1974; Daly 2006 has more terms).",
        "",
        "| GPUs | time between failures | costs | checkpoint every | trains |",
        "|---|---|---|---|---|",
    ]
    for gpus, hours, _ in SOURCES:
        for name, restart_s, stall_s in cases:
            interval, share = goodput(hours * 3600, restart_s, stall_s)
            lines.append(f"| {gpus:,} | {hours:.1f} h | {name} | {interval:.0f} s | {share:.2%} |")
    lines += ["", "Time between failures:", ""]
    lines += [f"- {gpus:,} GPUs, {hours:.1f} h: {who}" for gpus, hours, who in SOURCES]
    lines += [
        "",
        "Assumed: failures come independently of each other and of what is done; a failure loses half an",
        "interval; each checkpoint is complete when the next is due, so its write in the background must be",
        "shorter than `T`; a node in place of a broken one is at hand, except where it says queue. All but",
        "the rows `as here`, 2 minutes of start-up, 2 s of stall, 30 minutes of queue and 10 minutes of a",
        "watchdog for hangs, are round numbers and no measurements. Costs as here are those of a small model",
        "on few ranks: on thousands of GPUs connecting all ranks and reading the checkpoint take longer.",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
