"""What is trained: a corpus, models with whatever a resume could lose, configurations; not a test."""

import json
import random

import numpy as np
import soundfile
import torch
from omegaconf import OmegaConf
from torch import nn

from espnet3.components.data.shape_files import write_shape_file
from espnet3.components.modeling.metrics.ratio import Ratio
from espnet3.components.modeling.optimization_spec import OptimizationStep

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
        error = Ratio((guess - label).abs().sum(), label.abs().sum())
        stats = {"loss": loss.detach(), "guess": guess.detach().mean(), "error": error}
        return loss, stats, torch.tensor(len(label))


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
        return steps, {key: stats[key] for key in ("guess", "error")}, weight


ADAM = {"_target_": "torch.optim.AdamW", "lr": 0.01}
MODULE = "resume_cases"
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
BUCKETS = {"_target_": "espnet3.components.data.loading.length_buckets.LengthBuckets", "batch_bins": 1500}
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
    "long": {**NAMED, "trainer": {"max_epochs": 40, "val_check_interval": 0.4}},
    "workers": {
        "scheduler": STEP_LR,
        "scheduler_interval": "step",
        "bucketed": True,
        "dataloader": {"train": {"num_workers": 2}, "valid": {"num_workers": 2}},
        "trainer": {"max_epochs": 2, "accumulate_grad_batches": 2},
    },
    "workers, named": {
        **NAMED,
        "dataloader": {"train": {"num_workers": 2, "persistent_workers": True}},
        "trainer": {"max_epochs": 2},
    },
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
