"""Lets ranks of a training on Slurm hang, and counts how often the right one is named.

    python tools/bench/hangs.py [--nodes N] [--tasks T] [--hangs H] [--timeout S] [--seed S]

The recipe egs/TEMPLATE is trained on a real cluster: that of SLURM_CONF, else one of tools/slurm, which is
started and ended by this script. In one job ranks hang in turn, in each of the ways of hanging.py. Seconds:

    found     from the begin of the hang until it is written down; `trainer.hang_timeout_s` is part of them
    restarts  from there until training goes on, in the next attempt
"""

import argparse
import json
import os
import random
import shutil
import signal
import statistics
import sys
import tempfile
from pathlib import Path

from hanging import KINDS
from launch import ROOT, Bench, check, slurm_cluster, wait_until
from recovery import newest_attempt


def main() -> None:
    """Print each hang, and the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--nodes", type=int, default=2)
    parser.add_argument("--tasks", type=int, default=2, help="on each node")
    parser.add_argument("--hangs", type=int, default=48)
    parser.add_argument("--timeout", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))  # and end the cluster
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    draw = random.Random(arguments.seed)
    found: dict[str, list[tuple[bool, float, float]]] = {kind: [] for kind in KINDS}
    with tempfile.TemporaryDirectory() as folder, slurm_cluster():
        bench = Bench(Path(folder), arguments.nodes, arguments.tasks)
        run, orders = Path(folder) / "run", Path(folder) / "orders"
        orders.mkdir()
        job = launch(bench, run, orders, arguments.timeout)
        try:
            for number in range(arguments.hangs):
                kind, rank = KINDS[number % len(KINDS)], draw.randrange(arguments.nodes * arguments.tasks)
                found[kind].append(measure(run, orders, kind, rank))
        finally:
            check(["scancel", job])
            wait_until(lambda: not check(["squeue", "--noheader", "--me"]), "the job to end")
    print(f"\n{arguments.nodes} x {arguments.tasks} ranks, trainer.hang_timeout_s={arguments.timeout:g}")
    print(f"{'':9}{'hangs':>7}{'right rank':>12}{'found':>8}{'largest':>9}{'restarts':>10}")
    rows = {**found, "all": [row for rows in found.values() for row in rows]}
    for kind, measured in rows.items():
        if measured:
            right, seconds, restarts = zip(*measured, strict=True)
            print(
                f"{kind:9}{len(measured):7}{sum(right):12}{statistics.median(seconds):8.2f}{max(seconds):9.2f}"
                f"{statistics.median(restarts):10.2f}"
            )


def launch(bench: Bench, run: Path, orders: Path, timeout_s: float) -> str:
    """Submit a training without end; its job id."""
    shutil.copy(Path(__file__).with_name("hanging.py"), bench.recipe)
    os.environ["PYTHONPATH"] = f"{bench.recipe}{os.pathsep}{ROOT}"
    naps = f"+dataset.preprocessor={{_target_: hanging.Naps, folder: {orders}}}"
    check([*bench.espnet3, "--stage", "1", "--stop-stage", "1", "launcher=local", f"exp_dir={run}", naps])
    overrides = [
        *("launcher=slurm", f"exp_dir={run}", "trainer.max_epochs=100000", "trainer.accelerator=cpu"),
        *(f"resources.train.nodes={bench.nodes}", f"resources.train.tasks_per_node={bench.tasks}"),
        *(f"trainer.hang_timeout_s={timeout_s}", "dataloader.train.batch_size=4"),
        *("+dataloader.train.num_workers=1", "logger.tensorboard=null", naps),
        f"+callbacks.hangs={{_target_: hanging.Hangs, folder: {orders}}}",
    ]
    check([*bench.espnet3, "--stage", "2", "--stop-stage", "2", "--detach", *overrides])
    return str(json.loads((run / "jobs" / "train-1" / "submission.json").read_text())["job_id"])


def measure(run: Path, orders: Path, kind: str, rank: int) -> tuple[bool, float, float]:
    """Let a rank hang in the newest attempt: whether it was named, and the seconds."""
    wait_until(lambda: (run / "attempts" / "train-1" / "begin.json").exists(), "the first attempt")
    attempt = newest_attempt(run)
    wait_until(lambda: epochs(attempt) >= 2, f"two epochs of {attempt}")
    (orders / f"attempt-{attempt.name.rpartition('-')[2]}").write_text(f"{kind} {rank}")
    wait_until((attempt / "end.json").exists, f"the end of {attempt}")
    result = json.loads((attempt / "end.json").read_text())
    is_right = bool(result["hung_at"]) and result["rank"] == rank
    text = run / "logs" / "train" / attempt.name.replace("train", "attempt") / "hang.txt"
    began = float((orders / f"began-{attempt.name.rpartition('-')[2]}").read_text())
    written = text.stat().st_mtime if text.exists() else result["ended_at"]
    wait_until(lambda: newest_attempt(run) != attempt, "the next attempt")
    wait_until(lambda: epochs(newest_attempt(run)) >= 0, "its first batch")
    again = json.loads((newest_attempt(run) / "heartbeat-0.json").read_text())["at"]
    right = "right" if is_right else "WRONG"
    print(f"{kind:9} rank {rank}  {written - began:6.2f} s  {right}  {result['reason']}", flush=True)
    return is_right, written - began, again - written


def epochs(attempt: Path) -> int:
    """How many epochs the attempt has trained; -1 before its first batch."""
    try:
        epoch = json.loads((attempt / "heartbeat-0.json").read_text()).get("epoch")
    except (OSError, ValueError):
        epoch = None
    if epoch is None:
        return -1
    first = attempt / "first-epoch"
    if not first.exists():
        first.write_text(str(epoch))
    return int(epoch) - int(first.read_text())


if __name__ == "__main__":
    main()
