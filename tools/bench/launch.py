"""Compares the time from a command to the first training step on Slurm with plain sbatch and submitit.

    python tools/bench/launch.py [--nodes N] [--tasks T] [--rounds R] [--ways espnet3 hand submitit]

The recipe egs/TEMPLATE is trained on a real cluster: that of SLURM_CONF, else one of tools/slurm, which is
started and ended by this script. In turns it is launched by

    espnet3   run.sh --stage 2 --detach launcher=slurm
    hand      sbatch of a script that runs plain Lightning with srun (plain_training.py)
    submitit  a function that runs the same plain Lightning, submitted by submitit

and these seconds are measured, as medians over all rounds:

    accepted  from the command to Slurm's job id
    step      from the first line of the batch script to the end of the first training step
    again     the same, after `scontrol requeue`, which continues from a checkpoint
    requeued  from `scontrol requeue` to the end of that step; Slurm delays the start of a requeued job

`overhead` is accepted + step, minus that of the script written by hand.
"""

import argparse
import json
import os
import shlex
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CLUSTER = ROOT / "tools" / "slurm" / "cluster"
WAYS = ("espnet3", "hand", "submitit")
COLUMNS = ("accepted", "step", "again", "requeued")
TIMEOUT_S = 300.0


class Bench:
    """A copy of the recipe, and how a training of it is launched."""

    def __init__(self, folder: Path, nodes: int, tasks: int) -> None:
        self.folder, self.nodes, self.tasks = folder, nodes, tasks
        self.recipe = folder / "recipe"
        ignored = shutil.ignore_patterns("exp", "data", "__pycache__")
        shutil.copytree(ROOT / "egs" / "TEMPLATE", self.recipe, ignore=ignored)
        shutil.copy(Path(__file__).with_name("plain_training.py"), self.recipe)
        os.environ["PYTHONPATH"] = str(self.recipe)
        self.espnet3 = [sys.executable, "-m", "espnet3", "run", "--recipe", str(self.recipe)]
        check([*self.espnet3, "--stop-stage", "1", "launcher=local"])

    def launch_espnet3(self, home: Path, mark: str, *further: str) -> str:
        """Submit stage 2 as a user does, with further overrides; `home` becomes its run directory."""
        overrides = [
            *("launcher=slurm", f"exp_dir={home}", "trainer.max_epochs=100000", "trainer.accelerator=cpu"),
            *(f"resources.train.nodes={self.nodes}", f"resources.train.tasks_per_node={self.tasks}"),
            *("+callbacks.clock._target_=plain_training.FirstStep", f"+callbacks.clock.file={home}/marks"),
            f"resources.train.setup=['{mark}']",
            *further,
        ]
        check([*self.espnet3, "--stage", "2", "--stop-stage", "2", "--detach", *overrides])
        return str(json.loads((home / "jobs" / "train-1" / "submission.json").read_text())["job_id"])

    def launch_by_hand(self, home: Path, mark: str) -> str:
        """Submit a batch script."""
        training = shlex.join([sys.executable, str(self.recipe / "plain_training.py"), *self.arguments(home)])
        script = home / "job.sh"
        script.write_text(f"#!/bin/bash\n{mark}\nsrun --cpus-per-task=1 {training}\n")
        shape = [f"--nodes={self.nodes}", f"--ntasks-per-node={self.tasks}", "--cpus-per-task=1", "--requeue"]
        return check(["sbatch", "--parsable", *shape, f"--output={home}/log", str(script)]).strip()

    def launch_submitit(self, home: Path, mark: str) -> str:
        """Submit a function, from a separate process."""
        program = (
            "import sys\n"
            "from submitit import SlurmExecutor\n"
            "from submitted import Train\n"
            "recipe, folder, nodes, tasks, mark = sys.argv[1:]\n"
            "executor = SlurmExecutor(folder=folder + '/submitit')\n"
            "nodes, tasks = int(nodes), int(tasks)\n"
            "executor.update_parameters(nodes=nodes, ntasks_per_node=tasks, time=1440, setup=[mark])\n"
            "print(executor.submit(Train(), recipe, folder, nodes, tasks).job_id)\n"
        )
        # Its module is imported on the node only: submitting needs no torch.
        (self.recipe / "submitted.py").write_text(
            "class Train:\n"
            "    def __call__(self, recipe, folder, nodes, tasks):\n"
            "        from plain_training import train\n"
            "        train(recipe, folder, nodes, tasks)\n"
        )
        return check([sys.executable, "-c", program, *self.arguments(home), mark]).strip()

    def arguments(self, home: Path) -> list[str]:
        """The arguments of plain_training.py."""
        return [str(self.recipe), str(home), str(self.nodes), str(self.tasks)]

    def measure(self, launch: Callable[[Path, str], str], home: Path) -> dict[str, float]:
        """Launch once, requeue the job, and cancel it."""
        home.mkdir()
        marks = home / "marks"
        clock = self.folder / "clock.sh"
        clock.write_text('date "+start %s.%N" >> "$1"\n')
        began = time.time()
        job = launch(home, f"sh {clock} {marks}")
        accepted = time.time()
        try:
            start, step = wait_for(marks, 2)
            wait_until(lambda: (home / "checkpoints" / "last.ckpt").exists(), "a checkpoint")
            requeued = time.time()
            check(["scontrol", "requeue", job])
            start_again, step_again = wait_for(marks, 4)[2:]
        finally:
            check(["scancel", job])
            wait_until(lambda: not check(["squeue", "--noheader", "--me"]), "the job to end")
        return dict(
            zip(
                COLUMNS,
                (accepted - began, step - start, step_again - start_again, step_again - requeued),
                strict=True,
            )
        )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--nodes", type=int, default=1)
    parser.add_argument("--tasks", type=int, default=1, help="on each node")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))  # and end the cluster
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with tempfile.TemporaryDirectory() as folder, slurm_cluster():
        bench = Bench(Path(folder), arguments.nodes, arguments.tasks)
        launch = {
            "espnet3": bench.launch_espnet3,
            "hand": bench.launch_by_hand,
            "submitit": bench.launch_submitit,
        }
        results: dict[str, list[dict[str, float]]] = {name: [] for name in arguments.ways}
        for number in range(arguments.rounds):
            first = number % len(results)
            for name in [*results, *results][first : first + len(results)]:
                results[name].append(bench.measure(launch[name], Path(folder) / f"{name}-{number}"))
                seconds = "  ".join(f"{key} {value:6.2f}" for key, value in results[name][-1].items())
                print(f"round {number + 1} {name:9} {seconds}", flush=True)
    print(f"\nmedians of {arguments.rounds} rounds, {arguments.nodes} x {arguments.tasks} tasks, in seconds")
    print(f"{'':9}" + "".join(f"{column:>10}" for column in (*COLUMNS, "overhead")))
    medians = {
        name: {column: statistics.median(row[column] for row in rows) for column in COLUMNS}
        for name, rows in results.items()
    }
    totals = {name: row["accepted"] + row["step"] for name, row in medians.items()}
    for name, row in medians.items():
        overhead = f"{totals[name] - totals['hand']:10.2f}" if "hand" in totals else ""
        print(f"{name:9}" + "".join(f"{value:10.2f}" for value in row.values()) + overhead)


@contextmanager
def slurm_cluster() -> Iterator[None]:
    """The cluster of SLURM_CONF, or one for this run."""
    if "SLURM_CONF" in os.environ:
        yield
        return
    folder = Path(tempfile.mkdtemp(prefix="espnet3-bench-"))
    folder.rmdir()
    os.environ.update(ESPNET3_SLURM_DIR=str(folder), SLURM_CONF=str(folder / "etc" / "slurm.conf"))
    try:
        check([str(CLUSTER), "up"])
        yield
    finally:
        check([str(CLUSTER), "down"])


def check(command: list[str]) -> str:
    """Run a command, which must succeed; returns what it prints."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{shlex.join(command)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def wait_for(marks: Path, count: int) -> list[float]:
    """Wait for the first `count` marks; returns their times."""
    lines: list[str] = []

    def enough() -> bool:
        lines[:] = marks.read_text().splitlines() if marks.exists() else []
        return len(lines) >= count

    wait_until(enough, f"mark {count} in {marks}")
    return [float(line.split()[1]) for line in lines[:count]]


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Wait for the condition; exits after TIMEOUT_S seconds."""
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        if time.monotonic() > deadline:
            sys.exit(f"timed out after {TIMEOUT_S:.0f} s, waiting for {what}")
        time.sleep(0.02)


if __name__ == "__main__":
    main()
