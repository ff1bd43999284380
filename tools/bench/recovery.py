"""Measures how long a training on Slurm stands still after a killed rank, beside `scontrol requeue`.

    python tools/bench/recovery.py [--nodes N] [--tasks T] [--kills K] [--deaths D] [--requeues R]

The recipe egs/TEMPLATE is trained on a real cluster: that of SLURM_CONF, else one of tools/slurm, which is
started and ended by this script. In one job, after a checkpoint of the attempt,

    killed    a rank is killed (SIGKILL), each time another one: the job restarts on its nodes
    died      a node is cut off with all its processes, and a spare takes its place (only on tools/slurm's)
    requeued  the job is requeued, as by hand; Slurm delays the start of a requeued job

and these seconds are measured until the end of the next training batch.
"""

import argparse
import json
import os
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path

from launch import CLUSTER, Bench, check, slurm_cluster, wait_for, wait_until


def main() -> None:
    """Print each measurement, and the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--nodes", type=int, default=2)
    parser.add_argument("--tasks", type=int, default=2, help="on each node")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--deaths", type=int, default=1, help="of nodes; the job has as many spares")
    parser.add_argument("--requeues", type=int, default=3)
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))  # and end the cluster
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    deaths = arguments.deaths if "SLURM_CONF" not in os.environ else 0
    ways = ["killed"] * arguments.kills + ["died"] * deaths + ["requeued"] * arguments.requeues
    measured: dict[str, list[float]] = {way: [] for way in ways}
    with tempfile.TemporaryDirectory() as folder, slurm_cluster():
        bench = Bench(Path(folder), arguments.nodes, arguments.tasks)
        run = Path(folder) / "run"
        run.mkdir()
        job = bench.launch_espnet3(run, "true", f"resources.train.spare_nodes={deaths}")
        try:
            wait_for(run / "marks", 1)
            for number, way in enumerate(ways, start=1):
                wait_for_checkpoint(run)
                began = time.time()
                if way == "killed":
                    kill_rank(run, number % (arguments.nodes * arguments.tasks))
                elif way == "died":
                    check([str(CLUSTER), "kill-node", last_node(run)])
                else:
                    check(["scontrol", "requeue", job])
                measured[way].append(wait_for(run / "marks", number + 1)[-1] - began)
                print(f"{way:9} {measured[way][-1]:6.2f} s", flush=True)
                if number == arguments.kills + deaths:
                    shown = check(["scontrol", "--oneliner", "show", "job", job])
                    print(next(word for word in shown.split() if word.startswith("Restarts=")), flush=True)
        finally:
            check(["scancel", job])
            wait_until(lambda: not check(["squeue", "--noheader", "--me"]), "the job to end")
    print(f"\n{arguments.nodes} x {arguments.tasks} ranks, seconds to the next training batch")
    print(f"{'':9}{'times':>7}{'median':>9}{'largest':>9}")
    for way, seconds in measured.items():
        print(f"{way:9}{len(seconds):7}{statistics.median(seconds):9.2f}{max(seconds):9.2f}")
    if measured.get("killed") and measured.get("requeued"):
        ratio = statistics.median(measured["killed"]) / statistics.median(measured["requeued"])
        print(f"killed / requeued: {ratio:.2f}")


def newest_attempt(run: Path) -> Path:
    """The directory of the training's newest attempt."""
    return max((run / "attempts").glob("train-*"), key=lambda path: int(path.name.rpartition("-")[2]))


def last_node(run: Path) -> str:
    """The last node of the newest attempt, on which the batch process is not."""
    nodes: list[str] = json.loads((newest_attempt(run) / "begin.json").read_text())["nodes"]
    return nodes[-1]


def wait_for_checkpoint(run: Path) -> None:
    """Wait until the newest attempt has written a checkpoint: then no attempt is in vain."""
    began = json.loads((newest_attempt(run) / "begin.json").read_text())["started_at"]

    def written() -> bool:
        newest = max((path.stat().st_mtime for path in run.glob("checkpoints/*.ckpt")), default=0.0)
        return bool(newest > began)

    wait_until(written, "a checkpoint")


def kill_rank(run: Path, rank: int) -> None:
    """Kill a rank of the newest attempt, as the kernel does when memory runs out."""
    state = json.loads((newest_attempt(run) / f"rank-{rank}.json").read_text())
    os.kill(state["process"]["pid"], signal.SIGKILL)


if __name__ == "__main__":
    main()
