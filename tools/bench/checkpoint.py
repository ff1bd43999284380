"""Measures what checkpoints and heartbeats cost: times of training batches with and without them.

    python tools/bench/checkpoint.py [--every N ...] [--channels C] [--rounds R] [--batches B]
    python tools/bench/checkpoint.py --state-mb 100 [--kills 100]

The recipe egs/TEMPLATE is trained for one epoch again and again by the real stage, in turns: with neither
checkpoints (but the one at its end) nor heartbeats, with a checkpoint every N batches, and with a heartbeat
at every batch, from which the cost of heartbeats at their usual interval is computed.

An epoch is cut into windows of as many batches as lie between two checkpoints (at least 20), so that each
contains its share of them. A time is the mean of the quickest fifth of the windows of all rounds, per batch:
this excludes what a busy machine adds. Ratios are to "neither" in windows of the same length; 1.00: no cost.

With --state-mb the stall of a checkpoint of so large a state is compared with one copy of it in memory, and
processes are killed during writes.
"""

import argparse
import itertools
import logging
import os
import shutil
import statistics
import sys
import tempfile
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).resolve().parents[2]
WARM_UP = 10  # batches
LEAST_WINDOW = 20  # batches


@dataclass
class Variant:
    """One way to train, and the times between its batches, seconds, by round."""

    name: str
    every: int | None = None
    """Batches between two checkpoints; None: none."""
    beats: bool = False
    """Whether there is a heartbeat at every batch; else there is none."""
    rounds: list[list[float]] = field(default_factory=list)

    @property
    def window(self) -> int:
        """Batches of a window, in which each checkpoint that is due is written."""
        return max(LEAST_WINDOW, self.every or 0)

    def seconds_per_batch(self, window: int) -> float:
        """Mean of the quickest fifth of all windows of so many batches."""
        means = [
            statistics.mean(times[start : start + window])
            for times in self.rounds
            for start in range(0, len(times) - window + 1, window)
        ]
        return statistics.mean(sorted(means)[: max(1, len(means) // 5)])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--every", type=int, nargs="+", default=[100, 10, 1], help="batches")
    parser.add_argument("--channels", type=int, default=512, help="of the model: 512 are 200,000 parameters")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--batches", type=int, default=310, help="of an epoch; the first 10 are not counted")
    parser.add_argument("--state-mb", type=int, help="measure checkpoints of so large a state instead")
    parser.add_argument("--kills", type=int, default=100, help="with --state-mb: how many")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        recipe = Path(folder) / "egs" / "bench"
        ignored = shutil.ignore_patterns("exp", "data", "__pycache__")
        shutil.copytree(ROOT / "egs" / "TEMPLATE", recipe, ignore=ignored)
        if arguments.state_mb is None:
            measure(recipe, arguments)
        else:
            measure_large(recipe, Path(folder) / "kills", arguments.state_mb, arguments.kills)


def measure_large(recipe: Path, folder: Path, megabytes: int, kills: int) -> None:
    """Checkpoints of a large state, and kills during their writes."""
    from large_checkpoint import channels_for, measure_kills, measure_stalls

    overrides = ["prepare.sizes.train=60", "dataloader.train.batch_size=1", "trainer.max_epochs=1"]
    overrides += [f"model.channels={channels_for(megabytes)}", "checkpoint.every_n_batches=3"]
    overrides += ["checkpoint.every_minutes=null", "logger.tensorboard=null"]
    measure_stalls(prepared(recipe, overrides))
    measure_kills(folder, megabytes, kills)


def measure(recipe: Path, arguments: argparse.Namespace) -> None:
    """Train in turns, and compare."""
    from espnet3.config.compose import Recipe, compose
    from espnet3.rundir.heartbeat import EVERY_S

    batch_size = 8
    overrides = [f"prepare.sizes.train={batch_size * arguments.batches}", "trainer.max_epochs=1"]
    overrides += [f"dataloader.train.batch_size={batch_size}", f"model.channels={arguments.channels}"]
    overrides += ["checkpoint.every_minutes=null", "logger.tensorboard=null"]
    prepared(recipe, overrides)
    neither = Variant("neither")
    others = [Variant(f"checkpoint every {every}", every=every) for every in arguments.every]
    others += [Variant("heartbeat every batch", beats=True)]
    for number in range(arguments.rounds):
        for variant in (neither, *others):
            round_overrides = [*overrides, f"tag=round-{number}"]
            if variant.every is not None:
                round_overrides.append(f"checkpoint.every_n_batches={variant.every}")
            config = compose(Recipe(recipe), round_overrides)
            variant.rounds.append(batch_times(config, beats=variant.beats)[WARM_UP:])
            size = (Path(config.exp_dir) / "checkpoints" / "last.ckpt").stat().st_size
            shutil.rmtree(config.exp_dir)
    print(f"checkpoint of {size / 1e6:.1f} MB, {arguments.channels} channels, {arguments.rounds} rounds")
    for variant in (neither, *others):
        seconds, plain = (each.seconds_per_batch(variant.window) for each in (variant, neither))
        cost = (seconds - plain) * (variant.every or 1)
        each = f", {1e3 * cost:6.2f} ms each" if variant is not neither else ""
        print(f"{variant.name:22} {1e3 * seconds:7.2f} ms a batch, ratio {seconds / plain:.3f}{each}")
    print(f"heartbeats every {EVERY_S} s: ratio {1 + cost / EVERY_S:.4f}, computed from the last line")


def prepared(recipe: Path, overrides: list[str]) -> Any:
    """The configuration of a training, whose data and statistics are made."""
    from espnet3.config.compose import Recipe, compose
    from espnet3.launcher.rank.task import add_recipe_to_path
    from espnet3.rundir.task import Task
    from espnet3.stages import collect_stats, prepare

    add_recipe_to_path(recipe)
    config = compose(Recipe(recipe), overrides)
    for stage in (prepare, collect_stats):
        for home in (config.data_dir, config.stats_dir):
            Path(home).mkdir(parents=True, exist_ok=True)
        stage.run(config, Task.single("any"))
    return config


def batch_times(config: Any, *, beats: bool) -> list[float]:
    """Train one epoch; seconds from the start of each batch to that of the next."""
    from lightning.pytorch import Callback

    from espnet3.components.trainers import build
    from espnet3.rundir.heartbeat import Heartbeat
    from espnet3.rundir.task import Task
    from espnet3.stages import train

    Path(config.exp_dir).mkdir(parents=True)
    heartbeat = Heartbeat(Path(config.exp_dir) / "heartbeat.json", every_s=0.0) if beats else Heartbeat()
    starts: list[float] = []

    class Clock(Callback):
        def on_train_batch_start(self, *_: object) -> None:
            starts.append(time.perf_counter())

    with patch.object(build, "build_callbacks", lambda _: [Clock()]):
        train.run(config, Task("train", heartbeat=heartbeat))
    return [after - before for before, after in itertools.pairwise(starts)]


if __name__ == "__main__":
    sys.exit(main())
