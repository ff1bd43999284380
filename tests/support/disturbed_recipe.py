"""A recipe that is trained on a cluster and disturbed, beside an undisturbed training of it."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[2]
Until = Callable[[Callable[[], object], str], None]
ESPNET3 = (sys.executable, "-m", "espnet3", "run")
TRAIN = ("--stage", "2", "--stop-stage", "2", "+experiment=small")
TRAIN_AND_VALIDATE = ("--stage", "2", "--stop-stage", "3", "+experiment=small")
TRAINING = (
    *("trainer.max_epochs=3", "trainer.log_every_n_steps=1", "checkpoint.every_n_batches=1"),
    *("dataloader.train.iter_factory.batch_size=4", "resources.train.cpus_per_task=1"),
    *("resources.train.nodes=2", "resources.train.tasks_per_node=2", "logger.tensorboard=null"),
    "trainer.hang_timeout_s=null",  # the tests let ranks wait
)
BROKEN = """
import os
import time
from pathlib import Path
from lightning.pytorch import Callback

class FailsOnRank3(Callback):
    def on_train_batch_start(self, *_):
        if os.environ["RANK"] == "3":
            raise ValueError("rank three has no more ideas")

class WaitsForItsEnd(Callback):
    # the first attempts: each trains one batch
    def __init__(self, attempts):
        self.attempts = attempts
        self.trained = False

    def on_train_batch_start(self, trainer, *_):
        attempts = list(Path(trainer.default_root_dir, "attempts").glob("train-*"))
        asked = trainer.lightning_module.stop_requested
        while len(attempts) <= self.attempts and self.trained and not asked():
            time.sleep(0.1)
        self.trained = True

class WaitsForFile(Callback):
    # after its first batch
    def __init__(self, file):
        self.file = Path(file)
        self.trained = False

    def on_train_batch_start(self, *_):
        while self.trained and not self.file.exists():
            time.sleep(0.1)
        self.trained = True

class Deaf(Callback):
    def on_train_batch_start(self, *_):
        while True:
            time.sleep(1)
"""


WAITING = "+callbacks.waits={_target_: broken.WaitsForItsEnd, attempts: 1}"
"""Until the fault comes: the tests need no long training."""


class Recipe:
    """A copy of mini_digits/asr with a small corpus, trained on 2 nodes x 2 ranks of the cluster."""

    def __init__(self, cluster, directory: Path, start_on_slurm, until: Until) -> None:
        self.cluster, self.directory, self.until = cluster, directory, until
        self._start = start_on_slurm

    def train(self, tag: str, *overrides: str, stages: tuple[str, ...] = TRAIN):
        """Start a training, at least, on the cluster under `tag`."""
        words = ("run", "--recipe", self.directory, *stages, "launcher=slurm")
        return self._start(*words, *TRAINING, f"tag={tag}", *overrides)

    def exp(self, tag: str) -> Path:
        return self.directory / "exp" / tag

    def begun(self, tag: str, attempt: int = 1) -> None:
        """Wait until an attempt has left a checkpoint of its own."""
        begin = self.exp(tag) / "attempts" / f"train-{attempt}" / "begin.json"
        self.until(begin.exists, f"attempt {attempt} of {tag}")
        before = json.loads(begin.read_text())["started_at"] * 1e9
        self.until(lambda: self.newest(tag) > before, f"a checkpoint of attempt {attempt} of {tag}")

    def newest(self, tag: str) -> int:
        times = []
        for path in (self.exp(tag) / "checkpoints").glob("*.ckpt"):
            try:
                times.append(path.stat().st_mtime_ns)
            except OSError:
                continue
        return max(times, default=0)

    def job(self, tag: str, stage: str = "train") -> str:
        """Slurm's id of the newest job of a stage."""
        found: list[Path] = []
        self.until(
            lambda: found.extend((self.exp(tag) / "jobs").glob(f"{stage}-*/submission.json")) or found,
            "a job",
        )
        newest = max(found, key=lambda path: int(path.parent.name.rpartition("-")[2]))
        return str(json.loads(newest.read_text())["job_id"])

    def limit(self, job: str, rest_s: int) -> None:
        """Leave a running job so many seconds, and less than a minute more: limits are in minutes."""
        used = reversed(self.cluster("squeue", "-h", "-o", "%M", "-j", job).split(":"))
        elapsed_s = sum(int(number) * 60**power for power, number in enumerate(used))
        minutes = -(-(elapsed_s + rest_s) // 60)
        self.cluster("scontrol", "update", f"jobid={job}", f"timelimit={minutes}")

    def attempts(self, tag: str) -> list[dict]:
        """How each attempt of the training ended, in order; {} for one that could not say."""
        folders = sorted(
            (self.exp(tag) / "attempts").glob("train-*"), key=lambda path: int(path.name.rpartition("-")[2])
        )
        return [
            json.loads(p.read_text()) if (p := folder / "end.json").exists() else {} for folder in folders
        ]

    def begins(self, tag: str) -> list[dict]:
        """How each attempt of the training began, in order."""
        files = (self.exp(tag) / "attempts").glob("train-*/begin.json")
        return sorted((json.loads(path.read_text()) for path in files), key=lambda one: one["number"])

    def rank(self, tag: str, rank: int, attempt: int = 1) -> dict:
        return json.loads((self.exp(tag) / "attempts" / f"train-{attempt}" / f"rank-{rank}.json").read_text())

    def ran(self, tag: str, *states: str) -> None:
        """Wait until sacct, which may lag, says so of each start of the training's job."""
        self.until(lambda: self.cluster.accounted(self.job(tag)) == list(states), "sacct")

    def weights(self, tag: str) -> dict[str, torch.Tensor]:
        return torch.load(self.exp(tag) / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]

    def same_as_undisturbed(self, tag: str) -> None:
        """The final weights and the rows of metrics are those of the undisturbed run, bit for bit."""
        expected = self.weights("undisturbed")
        for name, value in self.weights(tag).items():
            assert torch.equal(value, expected[name]), name
        rows, undisturbed = (
            (self.exp(one) / "csv" / "metrics.csv").read_text() for one in (tag, "undisturbed")
        )
        assert rows == undisturbed


def make_recipe(copy: Path) -> None:
    """Copy mini_digits/asr to below `copy`, and make its corpus and statistics."""
    shutil.rmtree(copy, ignore_errors=True)
    ignored = shutil.ignore_patterns("exp", "data", "__pycache__", "vocoder")
    shutil.copytree(ROOT / "egs" / "mini_digits", copy, ignore=ignored)
    (copy / "asr" / "broken.py").write_text(BROKEN)
    shutil.copy(ROOT / "tools" / "bench" / "hanging.py", copy / "asr")
    done = subprocess.run(
        [*ESPNET3, "--recipe", str(copy / "asr"), "--stop-stage", "1", "+experiment=small"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
