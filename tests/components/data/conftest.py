"""A small corpus of speech-like audio: voiced sound with moving formants, pauses and noise."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from espnet3.components.data.data_organizer import DataOrganizer
from espnet3.components.data.manifest import ManifestDataset

RATE = 8000


def voiced(seconds: float, pitch_hz: float, seed: int) -> np.ndarray:
    """Harmonics of a gliding pitch under a moving spectral peak, with breaths in between."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * RATE)) / RATE
    pitch = pitch_hz * (1 + 0.1 * np.sin(2 * np.pi * 1.5 * t))
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    peak = 700 + 300 * np.sin(2 * np.pi * 2.5 * t + seed)
    wave = sum(
        np.exp(-(((k * pitch - peak) / 400) ** 2)) * np.sin(k * phase) for k in range(1, int(3500 / pitch_hz))
    )
    envelope = np.clip(np.sin(2 * np.pi * 4 * t), 0, 1) ** 0.5
    return (0.3 * envelope * wave + 0.01 * rng.standard_normal(len(t))).astype(np.float32)


def write_corpus(folder: Path, count: int, first: int = 0) -> Path:
    """Utterances of 0.1 to 0.5 seconds and their manifest."""
    (folder / "wav").mkdir(parents=True)
    lines = []
    for number in range(first, first + count):
        uid = f"spk{number % 3}-{number:03d}"
        audio = voiced(0.1 + 0.04 * (number * 7 % 11), 90 + 20 * (number % 5), number)
        soundfile.write(folder / "wav" / f"{uid}.wav", audio, RATE)
        tokens = [(number * 3 + k) % 10 for k in range(2 + number % 4)]
        lines.append({"uid": uid, "audio": f"wav/{uid}.wav", "tokens": tokens, "text": f"utterance {number}"})
    manifest = folder / "manifest.jsonl"
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return manifest


@pytest.fixture(scope="session")
def train_manifest(tmp_path_factory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus") / "train", 23)


@pytest.fixture(scope="session")
def valid_manifest(tmp_path_factory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus") / "valid", 7, first=100)


@pytest.fixture
def organizer(train_manifest, valid_manifest) -> DataOrganizer:
    return DataOrganizer(
        train=[{"name": "mini", "dataset": ManifestDataset(train_manifest, RATE), "transform": drop_text}],
        valid=[{"name": "mini", "dataset": ManifestDataset(valid_manifest, RATE), "transform": drop_text}],
    )


def drop_text(sample: dict) -> dict:
    return {key: value for key, value in sample.items() if key != "text"}


class LogEnergyModel(torch.nn.Module):
    """Log energies of four filters over frames of 25 ms; a stand-in for a front end, in real arithmetic."""

    def __init__(self) -> None:
        super().__init__()
        filters = np.stack([np.hanning(200) * np.cos(np.arange(200) * 0.2 * k) for k in range(1, 5)])
        self.filters = torch.nn.Parameter(torch.from_numpy(filters).float())
        self.dropout = torch.nn.Dropout(0.5)

    def collect_feats(self, speech, speech_lengths, **_):
        frames = speech.unfold(1, 200, 80)
        feats = self.dropout((frames @ self.filters.T).square().add(1e-6).log())
        return {"feats": feats, "feats_lengths": (speech_lengths - 200) // 80 + 1}


@pytest.fixture
def model() -> LogEnergyModel:
    return LogEnergyModel()
