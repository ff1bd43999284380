"""Trainings by the real stage on real audio in milliseconds, and what a resume must equal; not a test.

    python resume_runs.py DIRECTORY everywhere CASE...    as one of several ranks, by RANK, WORLD_SIZE, ...
    python resume_runs.py DIRECTORY kills CASE RANKS      kill a training's processes, again and again
    python resume_runs.py DIRECTORY sizes CASE            change the number of ranks within an epoch

A rank's answer, what `resumed_everywhere` found by case, is DIRECTORY/rank-<r>.pt; the others' is
DIRECTORY/answer.json.
"""

import json
import os
import random
import shutil
import signal
import socket
import sys
import time
from pathlib import Path

import numpy as np
import soundfile
import torch
from lightning.pytorch import Callback
from omegaconf import OmegaConf
from torch import nn

from espnet3.components.checkpoint.folder import position_of
from espnet3.components.data.shape_files import write_shape_file
from espnet3.components.modeling.optimization_spec import OptimizationStep
from espnet3.rundir.stop import Stopped
from espnet3.rundir.task import Task
from espnet3.stages import train as stage

TRAIN, VALID = 18, 5  # utterances
WINDOW = 32  # samples


def make_corpus(directory):
    """Short tones in noise, a manifest and a shape file per split."""
    rng = np.random.default_rng(0)
    for split, size in (("train", TRAIN), ("valid", VALID)):
        lines, shapes = [], {}
        (directory / split).mkdir(parents=True)
        for number in range(size):
            length = int(rng.integers(300, 700))
            uid, label = f"{split}-{number}", float(rng.uniform(0.1, 0.4))
            audio = 0.3 * np.sin(label * np.arange(length)) + 0.02 * rng.standard_normal(length)
            soundfile.write(directory / split / f"{uid}.wav", audio, 8000)
            lines.append(json.dumps({"uid": uid, "audio": f"{split}/{uid}.wav", "label": label}))
            shapes[uid] = (length,)
        (directory / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
        write_shape_file(directory / f"{split}_shape", shapes)


class Noise:
    """A random transform."""

    def __call__(self, sample, rng):
        noise = 0.01 * rng.standard_normal(len(sample["speech"]))
        label = np.float32(sample["label"])
        return {**sample, "speech": (sample["speech"] + noise).astype(np.float32), "label": label}


def features(speech):
    """Mean magnitudes of short windows, (B, 17)."""
    return torch.fft.rfft(speech.unfold(1, WINDOW, WINDOW)).abs().mean(1)


class Regression(nn.Module):
    """Has whatever a resume could lose: batch normalization, dropout, draws from every generator."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(17, 8), nn.BatchNorm1d(8, momentum=0.3), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 1)
        )
        self.more = nn.ModuleList(nn.Linear(17, 17) for _ in range(3))

    def hidden(self, speech):
        feats = features(speech)
        for layer in self.more:
            feats = feats + layer(feats).tanh()
        if self.training:
            return feats * (1 + 0.01 * random.random() + 0.01 * np.random.rand())
        return feats * (1 + 0.01 * torch.rand(()))  # some models sample in validation

    def forward(self, speech, label, **_):
        # alone in its batch an utterance has no variance: it meets a second one, of zeros
        feats = self.hidden(speech)
        guess = self.layers(torch.cat([feats, torch.zeros_like(feats[:1])]))[:-1, 0]
        loss = (guess - label).square().mean()
        return loss, {"loss": loss.detach(), "guess": guess.detach().mean()}, torch.tensor(len(label))


class Gan(Regression):
    """Two optimizers; every third batch, by its audio, is the generator's alone."""

    def __init__(self):
        super().__init__()
        self.discriminator = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 1))

    def forward(self, speech, label, **_):
        loss, stats, weight = super().forward(speech, label)
        guess = self.layers(torch.cat([self.hidden(speech), torch.zeros(1, 17)]))[:-1]
        fooled = self.discriminator(guess).square().mean()
        seen = self.discriminator(guess.detach()).mean() - self.discriminator(label[:, None].float()).mean()
        steps = [
            OptimizationStep(loss + fooled, "generator"),
            OptimizationStep(seen.square(), "discriminator"),
        ]
        return steps, {"guess": stats["guess"]}, weight


ADAM = {"_target_": "torch.optim.AdamW", "lr": 0.01}
MODULE = Path(__file__).stem
PLATEAU = {
    "_target_": "torch.optim.lr_scheduler.ReduceLROnPlateau",
    "patience": 0,
    "factor": 0.5,
    "mode": "max",
}
STEP_LR = {"_target_": "torch.optim.lr_scheduler.StepLR", "step_size": 2, "gamma": 0.9}
NAMED = {
    "optimizer": None,
    "model": {"_target_": f"{MODULE}.Gan"},
    "optimizers": {
        "generator": {
            "optimizer": ADAM,
            "params": ["layers", "more"],
            "accum_grad_steps": 2,
            "gradient_clip_val": 0.5,
        },
        "discriminator": {
            "optimizer": ADAM,
            "params": "discriminator",
            "accum_grad_steps": 3,
            "step_every_n_iters": 2,
        },
    },
    "schedulers": {
        "generator": {"scheduler": PLATEAU, "monitor": "valid/generator/loss"},
        "discriminator": {"scheduler": STEP_LR, "interval": "step"},
    },
    "checkpoint": {"monitor": "valid/generator/loss"},
}
BUCKETS = {"_target_": "espnet3.components.data.length_buckets.LengthBuckets", "batch_bins": 1500}
CASES = {
    "plateau": {
        "scheduler": PLATEAU,
        "scheduler_interval": "epoch",
        "scheduler_monitor": "valid/loss",
        "trainer": {"max_epochs": 2},
    },
    "validating inside": {
        "scheduler": PLATEAU,
        "scheduler_interval": "epoch",
        "scheduler_monitor": "valid/loss",
        "trainer": {"max_epochs": 2, "val_check_interval": 4},
    },
    "accumulating": {
        "scheduler": STEP_LR,
        "scheduler_interval": "step",
        "bucketed": True,
        "trainer": {"max_epochs": 2, "accumulate_grad_batches": 2, "val_check_interval": 0.5},
    },
    "max_steps": {
        "dataset": {"valid": None},
        "checkpoint": {"monitor": "train/loss"},
        "trainer": {"max_epochs": -1, "max_steps": 7, "accumulate_grad_batches": 2, "log_every_n_steps": 3},
    },
    "named": {**NAMED, "trainer": {"max_epochs": 2}},
    "named, validating always": {
        **NAMED,
        "bucketed": True,
        "trainer": {"max_epochs": -1, "max_steps": 8, "val_check_interval": 1},
    },
    "long": {**NAMED, "trainer": {"max_epochs": 6, "val_check_interval": 0.4}},
    "workers": {**NAMED, "dataloader": {"train": {"num_workers": 2}}, "trainer": {"max_epochs": 2}},
}


def configuration(case, corpus, home, **checkpoint):
    """The whole configuration of a case; its data lies in `corpus`, its run directory is `home`."""
    parts = {
        split: [
            {
                "name": split,
                "dataset": {
                    "_target_": "espnet3.components.data.manifest.ManifestDataset",
                    "path": str(corpus / f"{split}.jsonl"),
                },
                "transform": {"_target_": f"{MODULE}.Noise"},
            }
        ]
        for split in ("train", "valid")
    }
    loaders = {split: {"batch_size": 2} for split in parts}
    if CASES[case].get("bucketed"):
        shapes = {split: [str(corpus / f"{split}_shape")] for split in parts}
        loaders = {split: {"iter_factory": {**BUCKETS, "shape_files": shapes[split]}} for split in parts}
    base = {
        "exp_dir": str(home),
        "seed": 3,
        "init_from": None,
        "stats_dir": None,
        "dataset": {
            "_target_": "espnet3.components.data.data_organizer.DataOrganizer",
            "test": None,
            **parts,
        },
        "dataloader": loaders,
        "model": {"_target_": f"{MODULE}.Regression"},
        "optimizer": ADAM,
        "scheduler": None,
        "trainer": {"accelerator": "cpu", "log_every_n_steps": 1},
        "checkpoint": {"monitor": "valid/loss", "mode": "min", "save_top_k": 2, "keep_last": 2, **checkpoint},
        "logger": {
            "csv": {
                "_target_": "espnet3.components.trainers.csv_logger.AppendingCSVLogger",
                "path": str(home / "csv" / "metrics.csv"),
            }
        },
        "callbacks": {},
        "resources": {"train": {"cpus_per_task": 1}},
    }
    return OmegaConf.merge(base, {key: value for key, value in CASES[case].items() if key != "bucketed"})


def train(case, corpus, home, task=None, stop_after=0, **checkpoint):
    """Train or go on; the same command whatever was before."""
    task = task or Task.alone("train")
    home.mkdir(parents=True, exist_ok=True)
    config = configuration(case, corpus, home, **checkpoint)
    config.trainer.devices = task.world_size
    StopAfter.task = task
    config.callbacks = {"stop": {"_target_": f"{MODULE}.StopAfter", "batches": stop_after}}
    return stage.run(config, task)


class StopAfter(Callback):
    """Asks to stop in the n-th batch of this attempt, of training or validation; notes what it trains on."""

    task = None
    seen = None

    def __init__(self, batches):
        self.left = batches

    def on_train_batch_start(self, trainer, module, batch, *_):
        if self.seen is not None and not trainer.validating:
            self.seen.append([trainer.current_epoch, batch[0]])
        self.left -= 1
        if not self.left:
            self.task.stop.set("SIGTERM")

    on_validation_batch_start = on_train_batch_start


def stopped_often(case, corpus, home, seed):
    """Train, asked to stop at a random batch again and again; what each attempt said."""
    rng = random.Random(seed)
    told = []
    for _ in range(100):
        task = Task.alone("train")
        try:
            train(case, corpus, home, task, stop_after=rng.randint(1, 5))
            return told
        except Stopped as stopped:
            told.append(str(stopped))
    raise RuntimeError(f"it never came to its end: {told}")


def killed_often(case, corpus, home, *, world_size, kills, seed=0):
    """Kill -9 a training at random moments, so many times, then let it run to its end.

    One rank of several dies first; the others must end by themselves, or are killed as by the launcher.

    Returns:
        How often it was killed.
    """
    rng = random.Random(seed)
    count = 0
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        before = newest(home)
        children = [_fork(case, corpus, home, rank, world_size, port) for rank in range(world_size)]
        if count < kills:
            writes, seen, deadline = rng.randint(0, 2), 0, time.monotonic() + 60
            while seen < writes and time.monotonic() < deadline and not _ended(children[0]):
                now = newest(home)
                seen, before = seen + (now != before), now
            time.sleep(rng.uniform(0, 0.01 if writes else 0.3))
            for child in rng.sample(children, len(children)):  # a rank at random goes first
                os.kill(child, signal.SIGKILL)
                time.sleep(rng.choice([0, 0.02]))
        codes = [os.waitpid(child, 0)[1] for child in children]
        if not any(codes):
            return count
        count += 1
        assert count <= kills, "it ended by itself, and not well"


def newest(home):
    """The newest checkpoint's name."""
    return max(checkpoints_of(home), key=position_of, default="")


def _ended(child):
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _fork(case, corpus, home, rank, world_size, port, stop_after=0, seen=None):
    """A rank of its own process; the modules are there already."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
        os.environ.update(RANK=str(rank), WORLD_SIZE=str(world_size), LOCAL_RANK=str(rank))
        StopAfter.seen = []
        train(case, corpus, home, Task("train", rank, world_size, rank), stop_after, every_n_batches=1)
        code = 0
    finally:
        if seen is not None:
            seen.write_text(json.dumps(StopAfter.seen))
        os._exit(code)


def end_of(home):
    """Everything that a training has left: its last checkpoint, the best ones, and its log."""
    folder = home / "checkpoints"
    last = torch.load(folder / "last.ckpt", weights_only=True)
    names = [part["file"] for part in last["espnet3_held"]["parts"]]
    parts = {name: torch.load(folder / name, weights_only=True) for name in names}
    csv = home / "csv" / "metrics.csv"
    return {
        "last": last,
        "parts": parts,
        "best": json.loads((folder / "best.json").read_text()),
        "rows": csv.read_text().splitlines(),
        "torn": sorted(path.name for path in folder.glob(".*")),
    }


def differences(one, other, where=""):
    """Paths of what differs between two nested structures, in any bit."""
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return [] if torch.equal(one, other) and one.dtype == other.dtype else [where]
    if type(one) is not type(other):
        return [where]
    if isinstance(one, dict):
        if list(one) != list(other):
            return [f"{where}: {sorted(set(one) ^ set(other), key=str) or 'order'}"]
        return [found for key in one for found in differences(one[key], other[key], f"{where}/{key}")]
    if isinstance(one, list | tuple):
        if len(one) != len(other):
            return [f"{where}: {len(one)} != {len(other)}"]
        pairs = enumerate(zip(one, other, strict=True))
        return [found for index, (a, b) in pairs for found in differences(a, b, f"{where}/{index}")]
    return [] if one == other or (one != one and other != other) else [where]


def killed_after(source, checkpoint, home):
    """Make `home` what `source` would be, had the run been killed some time after it wrote `checkpoint`.

    The log has all rows that followed.
    """
    folder = home / "checkpoints"
    folder.mkdir(parents=True)
    for path in (source / "checkpoints").iterdir():
        position = position_of(path.name)
        if position is not None and position <= position_of(checkpoint):
            os.link(path, folder / path.name)
    shutil.copy(source / "checkpoints" / "best.json", folder)
    shutil.copytree(source / "csv", home / "csv")


def checkpoints_of(home):
    """Names, oldest first."""
    names = [path.name for path in (home / "checkpoints").glob("epoch=*.ckpt")]
    return sorted(names, key=position_of)


def resumed_everywhere(case, corpus, directory, task=None, only=None):
    """Resume a training from each of its checkpoints (or from `only` so many, evenly spread).

    Returns:
        How many checkpoints there were, and by checkpoint what differed from the undisturbed training in the
        end.
    """
    task = task or Task.alone("train")
    train(case, corpus, directory / "undisturbed", task)
    everything = directory / "everything"
    train(case, corpus, everything, task, every_n_batches=1, keep_last=1000)
    names = checkpoints_of(everything)
    chosen = names if only is None else names[:: max(1, len(names) // only)]
    found = {}
    for number, name in enumerate(["", *chosen]):
        home = directory / f"resumed-{number}"
        if task.rank == 0 and name:
            killed_after(everything, name, home)
        if name:
            train(case, corpus, home, task)
        else:
            home = everything
        if task.rank == 0:
            expected, got = end_of(directory / "undisturbed"), end_of(home)
            found[name or "checkpoints after every batch"] = differences(expected, got)
    return {"checkpoints": len(names), "different": {name: what for name, what in found.items() if what}}


def everywhere(directory, *cases):
    """Resume each case from each of its checkpoints, as this rank; CASE:N from N of them."""
    rank = int(os.environ["RANK"])
    task = Task("train", rank, int(os.environ["WORLD_SIZE"]), local_rank=rank)
    if rank == 0:
        make_corpus(directory / "corpus")
    # The stage ends its process group; joining a new one for every training would take longer than training.
    end, torch.distributed.destroy_process_group = torch.distributed.destroy_process_group, lambda: None
    torch.distributed.init_process_group("gloo")
    torch.distributed.barrier()
    answers = {}
    for case in cases:
        name, _, only = case.partition(":")
        answers[name] = resumed_everywhere(
            name, directory / "corpus", directory / name, task, int(only) if only else None
        )
    torch.save(answers, directory / f"rank-{rank}.pt")
    end()


def kill(directory, case, ranks):
    """Kill a training more than twenty times; what differs from one that was left alone."""
    corpus = directory / "corpus"
    make_corpus(corpus)
    kills = killed_often(case, corpus, directory / "killed", world_size=int(ranks), kills=22)
    killed_often(case, corpus, directory / "undisturbed", world_size=int(ranks), kills=0)
    different = differences(end_of(directory / "undisturbed"), end_of(directory / "killed"))
    (directory / "answer.json").write_text(json.dumps({"kills": kills, "different": different}))


def change_size(directory, case):
    """Train with 2 ranks, 3, and 1, each from where the one before was stopped; which utterances came."""
    corpus = directory / "corpus"
    make_corpus(corpus)
    for number, (world_size, stop_after) in enumerate([(2, 2), (3, 1), (1, 0)]):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        children = []
        for rank in range(world_size):
            seen = directory / f"seen-{number}-{rank}.json"
            children.append(_fork(case, corpus, directory / "run", rank, world_size, port, stop_after, seen))
        for child in children:
            os.waitpid(child, 0)
    seen = [json.loads(path.read_text()) for path in sorted(directory.glob("seen-*.json"))]
    (directory / "answer.json").write_text(json.dumps(seen))


if __name__ == "__main__":
    sys.modules[MODULE] = sys.modules["__main__"]
    torch.set_num_threads(1)
    directory, what, *arguments = sys.argv[1:]
    {"everywhere": everywhere, "kills": kill, "sizes": change_size}[what](Path(directory), *arguments)
