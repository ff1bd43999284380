"""Compares launcher=local with an earlier version of it and with torchrun: start-up of ranks, and a sweep.

    python tools/bench/launch_local.py [--base COMMIT] [--ranks 4] [--trials 20] [--rounds 3]

`ranks` is a training of egs/TEMPLATE whose ranks end after their first step: wall seconds from the command to
the step of the last rank, and CPU seconds of all processes until they have ended. `sweep` trains and
validates that many trials of one epoch. Both are run, in turns, by this tree (`now`) and by the version of
COMMIT (`base`), which is taken out of git into a temporary folder; the ranks also by `torchrun` with plain
Lightning (plain_training.py). What is printed are medians, and ratios of these. Base is by default the last
version that started each rank as a process of its own.
"""

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from launch import ROOT, check

ONE_STEP = '''
"""A callback that ends each rank when all have made their first step."""

import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from lightning.pytorch import Callback


class OneStep(Callback):
    def __init__(self, file, ranks):
        self.file, self.ranks = Path(file), ranks

    def on_train_batch_end(self, *_):
        with self.file.open("a") as lines:
            lines.write(f"{time.time()}\\n")
        while len(self.file.read_text().splitlines()) < self.ranks:
            time.sleep(0.005)
        os._exit(0)
'''
TORCHRUN = """
import sys
import plain_training
from one_step import OneStep

_, recipe, folder, file, ranks = sys.argv
plain_training.FirstStep = lambda _: OneStep(file, int(ranks))
plain_training.train(recipe, folder, 1, int(ranks))
"""


class Version:
    """A version of espnet3, and a copy of the recipe that it runs."""

    def __init__(self, tree: Path, recipe: Path) -> None:
        self.recipe = recipe
        ignored = shutil.ignore_patterns("exp", "data", "__pycache__")
        shutil.copytree(ROOT / "egs" / "TEMPLATE", recipe, ignore=ignored)
        (recipe / "one_step.py").write_text(ONE_STEP)
        self.environment = {**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
        self.command = [sys.executable, "-m", "espnet3", "run", "--recipe", str(recipe)]
        check(["env", f"PYTHONPATH={tree}", *self.command, "--stop-stage", "1", "launcher=local"])

    def start_ranks(self, ranks: int, tag: str) -> dict[str, float]:
        """Train until the first step."""
        marks = self.recipe / f"marks-{tag}"
        words = ["--stage", "2", "--stop-stage", "2", f"tag={tag}", f"resources.train.tasks_per_node={ranks}"]
        callback = f"+callbacks.one={{_target_: one_step.OneStep, file: {marks}, ranks: {ranks}}}"
        return measure([*self.command, *words, callback], self.environment, marks, ranks)

    def sweep(self, trials: int, tag: str) -> dict[str, float]:
        """Train and validate trials of one epoch."""
        words = ["--multirun", "trainer.max_epochs=1", f"seed=range(1,{trials + 1})", f"tag={tag}"]
        began, before = time.time(), cpu_s()
        done = subprocess.run(
            [*self.command, *words], env=self.environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            sys.exit(f"the sweep has failed:\n{done.stdout}{done.stderr}")
        return {"wall": time.time() - began, "cpu": cpu_s() - before}


def torchrun_ranks(recipe: Path, ranks: int, tag: str) -> dict[str, float]:
    """As `Version.start_ranks`, by torchrun and plain Lightning."""
    shutil.copy(Path(__file__).with_name("plain_training.py"), recipe)
    script, marks, folder = recipe / "by_torchrun.py", recipe / f"marks-{tag}", recipe / f"exp-{tag}"
    script.write_text(TORCHRUN)
    program = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
    command = [*program, str(script), str(recipe), str(folder), str(marks), str(ranks)]
    return measure(command, {**os.environ, "PYTHONPATH": str(recipe), "OMP_NUM_THREADS": "1"}, marks, ranks)


def measure(command: list[str], environment: dict[str, str], marks: Path, ranks: int) -> dict[str, float]:
    """Run a command whose ranks end after their first step, of which each leaves a line in `marks`."""
    began, before = time.time(), cpu_s()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    times = [float(line) for line in marks.read_text().splitlines()] if marks.exists() else []
    if len(times) != ranks:
        sys.exit(f"{len(times)} of {ranks} ranks made a step:\n{done.stdout}{done.stderr}")
    return {"wall": max(times) - began, "cpu": cpu_s() - before}


def cpu_s() -> float:
    """CPU seconds of all processes that have ended, and were waited for, below this one."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--base", default="314e1db", metavar="COMMIT")
    parser.add_argument("--ranks", type=int, default=4)
    parser.add_argument("--trials", type=int, default=20, help="0: no sweep")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "base").mkdir()
        os.chdir(folder)  # where no version of espnet3 lies
        archive = check(["git", "-C", str(ROOT), "rev-parse", arguments.base]).strip()
        check(["sh", "-c", f"git -C {ROOT} archive {archive} | tar -x -C {folder}/base"])
        versions = {
            "now": Version(ROOT, folder / "now-recipe"),
            "base": Version(folder / "base", folder / "base-recipe"),
        }
        results: dict[tuple[str, str], list[dict[str, float]]] = {}
        for number in range(arguments.rounds):
            tag, runs = f"round-{number}", dict[tuple[str, str], Callable[[], dict[str, float]]]()
            for way, version in versions.items():
                runs["ranks", way] = partial(version.start_ranks, arguments.ranks, tag)
                if arguments.trials:
                    runs["sweep", way] = partial(version.sweep, arguments.trials, tag)
            recipe = versions["now"].recipe
            runs["ranks", "torchrun"] = partial(torchrun_ranks, recipe, arguments.ranks, f"torchrun-{number}")
            for key, run in runs.items():
                results.setdefault(key, []).append(run())
                seconds = "  ".join(f"{name} {value:6.2f}" for name, value in results[key][-1].items())
                print(f"round {number + 1} {key[0]} {key[1]:8} {seconds}", flush=True)
    medians = {
        key: {name: statistics.median(row[name] for row in rows) for name in ("wall", "cpu")}
        for key, rows in results.items()
    }
    shape = f"{arguments.ranks} ranks, {arguments.trials} trials"
    print(f"\nmedians of {arguments.rounds} rounds in seconds; {shape}")
    print(f"{'':6}{'':9}{'wall':>8}{'cpu':>8}{'now/wall':>10}{'now/cpu':>10}")
    for (what, way), row in medians.items():
        ours = medians[what, "now"]
        ratios = "".join(f"{ours[name] / row[name]:10.2f}" for name in ("wall", "cpu"))
        print(f"{what:6}{way:9}{row['wall']:8.2f}{row['cpu']:8.2f}{ratios}")


if __name__ == "__main__":
    main()
