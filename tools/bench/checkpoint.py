"""What checkpoints and heartbeats cost: times of training batches with them against without, in one run.

    python tools/bench/checkpoint.py [--every N ...] [--channels C] [--rounds R]

The recipe egs/TEMPLATE is trained for one epoch again and again, by the real stage, in turns: with neither
The recipe egs/TEMPLATE is trained for one epoch again and again by the real stage, in turns: with neither
usual interval, and with one at every batch. A time is that of an epoch divided by its number of batches; the
shortest of all rounds counts. Ratios are to "neither"; 1.00 is no cost.
"""

import argparse
import logging
import os
import shutil
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any
from unittest.mock import patch

os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).resolve().parents[2]
WARM_UP = 10  # batches


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--every", type=int, nargs="+", default=[100, 10, 1], help="batches")
    parser.add_argument("--channels", type=int, default=512, help="of the model: 512 are 200,000 parameters")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        recipe = Path(folder) / "egs" / "bench"
        ignored = shutil.ignore_patterns("exp", "data", "__pycache__")
        shutil.copytree(ROOT / "egs" / "TEMPLATE", recipe, ignore=ignored)
        measure(recipe, arguments)


def measure(recipe: Path, arguments: argparse.Namespace) -> None:
    """Train in turns, and compare."""
    from espnet3.config.compose import Recipe, compose
    from espnet3.launch.task import add_recipe_to_path
    from espnet3.rundir.task import Task
    from espnet3.stages import collect_stats, prepare

    add_recipe_to_path(recipe)
    overrides = ["prepare.sizes.train=1760", "trainer.max_epochs=1", f"model.channels={arguments.channels}"]
    overrides += ["checkpoint.every_minutes=null", "logger.tensorboard=null"]
    config = compose(Recipe(recipe), overrides)
    for stage in (prepare, collect_stats):
        for home in (config.data_dir, config.stats_dir):
            Path(home).mkdir(parents=True, exist_ok=True)
        stage.run(config, Task.alone("any"))
    variants: dict[str, tuple[int | None, float | None]] = {"neither": (None, None)}
    variants |= {f"checkpoint every {every}": (every, None) for every in arguments.every}
    variants |= {"heartbeat, usual": (None, 0.5), "heartbeat every 1": (None, 0.0)}
    best = dict.fromkeys(variants, float("inf"))
    for number in range(arguments.rounds):
        for name, (every, beat) in variants.items():
            given = [*overrides, f"tag={number}-{name.replace(' ', '-').replace(',', '')}"]
            if every is not None:
                given.append(f"checkpoint.every_n_batches={every}")
            config = compose(Recipe(recipe), given)
            best[name] = min(best[name], seconds_per_batch(config, beat))
            size = (Path(config.exp_dir) / "checkpoints" / "last.ckpt").stat().st_size
            shutil.rmtree(config.exp_dir)
    print(
        f"checkpoint of {size / 1e6:.1f} MB, {arguments.channels} channels, best of {arguments.rounds} rounds"
    )
    for name, seconds in best.items():
        cost = seconds - best["neither"]
        every = variants[name][0]
        each = f", {1e3 * cost * every:5.1f} ms each" if every else ""
        print(f"{name:22} {1e3 * seconds:7.2f} ms a batch, ratio {seconds / best['neither']:.2f}{each}")


def seconds_per_batch(config: Any, beat_every_s: float | None) -> float:
    """Train one epoch; the time of its batches after the first few."""
    from lightning.pytorch import Callback

    from espnet3.components.trainers import build
    from espnet3.rundir.heartbeat import Heartbeat
    from espnet3.rundir.task import Task
    from espnet3.stages import train

    Path(config.exp_dir).mkdir(parents=True)
    path = Path(config.exp_dir) / "heartbeat.json"
    heartbeat = Heartbeat() if beat_every_s is None else Heartbeat(path, beat_every_s)
    times: list[float] = []

    class Clock(Callback):
        def on_train_batch_start(self, *_: object) -> None:
            times.append(time.perf_counter())

    with patch.object(build, "build_callbacks", lambda _: [Clock()]):
        train.run(config, Task("train", heartbeat=heartbeat))
    return (times[-1] - times[WARM_UP]) / (len(times) - 1 - WARM_UP)


if __name__ == "__main__":
    sys.exit(main())
