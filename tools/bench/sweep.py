"""Compares sweeps on Slurm with plain `sbatch --array` and with the stock hydra-submitit-launcher.

    python tools/bench/sweep.py [--submit 1000] [--short 64] [--per-job 8] [--ways NAME] [--rounds 1]

On a real cluster, that of SLURM_CONF or one of tools/slurm that it starts and ends, it measures in seconds

    submit    from the command to N trials in Slurm's queue, while nothing may start
    short     from the command to the end of M trials, each of which imports Lightning, trains egs/TEMPLATE's
              model for 2 batches and sleeps for a second

for the same trials by

    espnet3   run.sh --stage 2 --stop-stage 2 --multirun seed=… launcher=slurm
    per job 8 the same with sweep.trials_per_job=8
    sbatch    an array whose script calls plain Lightning
    hydra     a Hydra application that calls the same plain Lightning, by hydra/launcher=submitit_slurm

An --override is passed to espnet3, such as sweep.max_parallel=8.
"""

import argparse
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from launch import ROOT, check, slurm_cluster, wait_until

TRIAL = '''
"""A short training by plain Lightning, and a callback that sleeps for a second."""

import sys
import time
from pathlib import Path

from lightning.pytorch import Callback, Trainer


class OneSecond(Callback):
    """Sleeps, for the work of a trial."""

    def on_train_end(self, *_):
        time.sleep(1.0)


def train(recipe, folder, seed):
    import torch
    from plain_training import Module, Tones, collate
    from torch.utils.data import DataLoader

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    stats = next((Path(recipe) / "exp" / "stats").glob("*/train/feats_stats.npz"))
    trainer = Trainer(
        accelerator="cpu", max_epochs=1, enable_progress_bar=False, default_root_dir=folder,
        limit_train_batches=2, callbacks=[OneSecond()], logger=False, enable_model_summary=False,
        enable_checkpointing=False,
    )
    data = Tones(Path(recipe) / "data" / "train.jsonl")
    trainer.fit(Module(stats), DataLoader(data, batch_size=16, shuffle=True, collate_fn=collate))


if __name__ == "__main__":
    train(sys.argv[1], sys.argv[2], int(sys.argv[3]))
'''
APPLICATION = '''
"""The same as a Hydra application."""

import os

import hydra


@hydra.main(version_base=None, config_path=None)
def main(config):
    import trial

    trial.train(os.environ["BENCH_RECIPE"], os.getcwd(), config.seed)


if __name__ == "__main__":
    main()
'''


class Bench:
    """A copy of the recipe, and the ways to run trials of it."""

    def __init__(self, folder: Path, overrides: list[str]) -> None:
        self.folder, self.overrides = folder, overrides
        self.recipe = folder / "recipe"
        ignored = shutil.ignore_patterns("exp", "data", "__pycache__")
        shutil.copytree(ROOT / "egs" / "TEMPLATE", self.recipe, ignore=ignored)
        shutil.copy(Path(__file__).with_name("plain_training.py"), self.recipe)
        (self.recipe / "trial.py").write_text(TRIAL)
        (self.recipe / "application.py").write_text(APPLICATION)
        os.environ.update(PYTHONPATH=f"{self.recipe}{os.pathsep}{ROOT}", OMP_NUM_THREADS="1")
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # espnet3 is compiled once, as where it is installed
        os.environ["BENCH_RECIPE"] = str(self.recipe)
        self.espnet3 = [sys.executable, "-m", "espnet3", "run", "--recipe", str(self.recipe)]
        check([*self.espnet3, "--stop-stage", "1", "launcher=local"])

    def by_espnet3(self, count: int, name: str, *, follow: bool, per_job: int = 1) -> list[str]:
        """The command that runs `count` trials."""
        return [
            *(*self.espnet3, "--stage", "2", "--stop-stage", "2", "--multirun", "launcher=slurm"),
            *(f"seed=range(0,{count})", f"tag={name}", "trainer.max_epochs=1"),
            *("trainer.limit_train_batches=2", "logger.tensorboard=null"),
            *("+callbacks.second._target_=trial.OneSecond", f"sweep.trials_per_job={per_job}"),
            *self.overrides,
            *([] if follow else ["--detach"]),
        ]

    def by_sbatch(self, count: int, name: str, *, follow: bool) -> list[str]:
        """The command that runs `count` trials; without --wait, which polls only every half minute."""
        home = self.folder / name
        home.mkdir()
        command = f"{sys.executable} {self.recipe}/trial.py {self.recipe} {home} $SLURM_ARRAY_TASK_ID"
        (home / "job.sh").write_text(f"#!/bin/bash\n{command}\n")
        options = [f"--array=0-{count - 1}", f"--output={home}/%a.log"]
        return ["sbatch", "--parsable", *options, str(home / "job.sh")]

    def by_hydra(self, count: int, name: str, *, follow: bool) -> list[str]:
        """The command that runs `count` trials; it always waits for them."""
        return [
            *(sys.executable, str(self.recipe / "application.py"), "-m", "hydra/launcher=submitit_slurm"),
            *(f"+seed=range(0,{count})", f"hydra.sweep.dir={self.folder}/{name}"),
            *("hydra.launcher.timeout_min=60", "hydra.launcher.tasks_per_node=1"),
            "hydra.launcher.array_parallelism=10000",
        ]

    def submit(self, command: list[str], count: int) -> float:
        """Seconds until all trials are in the queue, where they stay pending."""
        check(["scontrol", "update", "partitionname=normal", "state=down"])
        began = time.monotonic()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
        try:
            wait_until(lambda: queued() >= count, f"{count} trials in the queue")
            return time.monotonic() - began
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            check(["scancel", "--user", str(os.geteuid())])
            wait_until(lambda: queued() == 0, "an empty queue")
            check(["scontrol", "update", "partitionname=normal", "state=up"])

    def run(self, command: list[str]) -> float:
        """Seconds until the command and all its trials have ended."""
        began = time.monotonic()
        check(command)
        wait_until(lambda: queued() == 0, "an empty queue")
        return time.monotonic() - began


def queued() -> int:
    """How many jobs are in the queue, each element of an array counted."""
    return len(check(["squeue", "--noheader", "--me", "--array", "--format=%i"]).splitlines())


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--submit", type=int, default=1000, metavar="N", help="trials to submit; 0: none")
    parser.add_argument("--short", type=int, default=64, metavar="M", help="short trials to run; 0: none")
    parser.add_argument(
        "--per-job", type=int, nargs="*", default=[8], metavar="K", help="short trials in a job of espnet3"
    )
    parser.add_argument("--ways", nargs="+", metavar="NAME", help="rows of the table; by default all")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--override", action="append", default=[], metavar="KEY=VALUE", help="for espnet3")
    arguments = parser.parse_args()
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with tempfile.TemporaryDirectory() as folder, slurm_cluster():
        bench = Bench(Path(folder), arguments.override)
        ways: dict[str, Callable[..., list[str]]] = {
            "sbatch": bench.by_sbatch,
            "espnet3": bench.by_espnet3,
            **{f"per job {k}": partial(bench.by_espnet3, per_job=k) for k in arguments.per_job},
            "hydra": bench.by_hydra,
        }
        ways = {name: way for name, way in ways.items() if name in (arguments.ways or ways)}
        times: dict[tuple[str, str], list[float]] = {}
        for number in range(arguments.rounds):
            for name, way in ways.items():
                if arguments.submit and not name.startswith("per job"):
                    command = way(arguments.submit, f"{name}-submit-{number}", follow=False)
                    times.setdefault((name, "submit"), []).append(bench.submit(command, arguments.submit))
                if arguments.short:
                    command = way(arguments.short, f"{name}-short-{number}".replace(" ", "-"), follow=True)
                    times.setdefault((name, "short"), []).append(bench.run(command))
                for what in ("submit", "short"):
                    if (name, what) in times:
                        print(f"round {number + 1} {name:10} {what} {times[name, what][-1]:8.2f}", flush=True)
    print(f"\nmedians of {arguments.rounds} rounds, in seconds")
    print(f"{'':10}{f'submit {arguments.submit}':>14}{f'short {arguments.short}':>12}")
    for name in ways:
        medians = (statistics.median(times.get((name, what), [float("nan")])) for what in ("submit", "short"))
        print(f"{name:10}" + "".join(f"{seconds:13.2f}" for seconds in medians))


if __name__ == "__main__":
    main()
