"""Stage 1 tells what it made and read, shows progress, and stops between batches with nothing written."""

import json
import os
import shutil
import socket
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from omegaconf import OmegaConf

from espnet3.components.data import collect_stats
from espnet3.errors import UserError
from espnet3.rundir.heartbeat import Heartbeat, read_heartbeat
from espnet3.rundir.stop import Stopped
from espnet3.rundir.task import Task
from espnet3.stages.collect_stats import run

MODEL = '''
"""A front end that counts zero crossings and energy of frames of 25 ms."""

import torch


class TwoFeatures(torch.nn.Module):
    def collect_feats(self, speech, speech_lengths):
        frames = speech.unfold(1, 200, 80)
        crossings = (frames.diff().sign().diff() != 0).sum(-1)
        feats = torch.stack([crossings.float(), frames.square().sum(-1)], dim=-1)
        return {"feats": feats, "feats_lengths": (speech_lengths - 200) // 80 + 1}
'''


@pytest.fixture
def config(tmp_path, monkeypatch):
    """A configuration as the command line makes it, of 5 train and 3 valid utterances."""
    (tmp_path / "two_features.py").write_text(MODEL)
    monkeypatch.syspath_prepend(str(tmp_path))
    lists = {}
    for split, count in (("train", 5), ("valid", 3)):
        (tmp_path / split).mkdir()
        lines = []
        for number in range(count):
            t = np.arange(1600 + 400 * number) / 8000
            sweep = np.sin(2 * np.pi * (200 + 300 * t) * t) * np.hanning(len(t))
            soundfile.write(tmp_path / split / f"{number}.wav", sweep, 8000)
            lines.append(json.dumps({"uid": f"{split}{number}", "audio": f"{number}.wav"}) + "\n")
        (tmp_path / split / "manifest.jsonl").write_text("".join(lines))
        dataset = {
            "_target_": "espnet3.components.data.manifest.ManifestDataset",
            "path": str(tmp_path / split / "manifest.jsonl"),
            "sample_rate": 8000,
        }
        lists[split] = [{"name": "mini", "dataset": dataset}]
    organizer = {"_target_": "espnet3.components.data.data_organizer.DataOrganizer", **lists}
    config = OmegaConf.create(
        {
            "dataset": organizer,
            "dataloader": {"train": {}, "valid": {}},
            "model": {"_target_": "two_features.TwoFeatures"},
            "stats_dir": str(tmp_path / "stats"),
            "collect_stats": {"batch_size": 2, "num_workers": 0},
        }
    )
    OmegaConf.set_struct(config, True)
    return config


def test_the_result_tells_what_was_made_and_read(config, tmp_path):
    result = run(config, Task.single("collect_stats"))
    assert result.summary == "5 train and 3 valid utterances, feats of 2 dimensions"
    assert result.where == tmp_path / "stats"
    assert tmp_path / "stats/train/feats_stats.npz" in result.outputs
    assert tmp_path / "stats/valid/feats_shape" in result.outputs
    assert all(path.is_file() for path in result.outputs)
    audio = {tmp_path / "train" / f"{n}.wav" for n in range(5)} | {
        tmp_path / "valid" / f"{n}.wav" for n in range(3)
    }
    assert set(result.inputs) == audio | {tmp_path / split / "manifest.jsonl" for split in ("train", "valid")}
    assert len(result.inputs) == len(set(result.inputs))


def test_progress_is_in_the_heartbeat(config, tmp_path):
    run(config, Task("collect_stats", heartbeat=Heartbeat(tmp_path / "heartbeat.json")))
    heartbeat = read_heartbeat(tmp_path / "heartbeat.json")
    assert (heartbeat["unit"], heartbeat["done"], heartbeat["total"]) == ("utterance", 8, 8)


def test_a_request_to_stop_ends_it_between_batches_with_nothing_written(config, tmp_path):
    task = Task.single("collect_stats")
    task.stop.set("SIGTERM")
    with pytest.raises(Stopped, match="2 of 8 utterances"):
        run(config, task)
    assert not (tmp_path / "stats").exists()


RANK = """
import os, sys
from omegaconf import OmegaConf
from espnet3.components.data import collect_stats
from espnet3.rundir.stop import Stopped
from espnet3.rundir.task import Task
from espnet3.stages.collect_stats import run
collect_stats.BLOCK = 2
task = Task("collect_stats", rank=int(os.environ["RANK"]), world_size=2)
if sys.argv[2] == os.environ["RANK"]:
    task.stop.set("SIGTERM")
try:
    print(len(run(OmegaConf.load(sys.argv[1]), task).outputs))
except Stopped as stopped:
    print("stopped:", stopped)
"""


def two_ranks(config, tmp_path, stop_rank: int) -> list[str]:
    """What each of two ranks ends with, of which one may be asked to stop before it begins."""
    OmegaConf.save(config, tmp_path / "config.yaml")
    with socket.socket() as probe:
        probe.bind(("", 0))
        meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(probe.getsockname()[1]), "WORLD_SIZE": "2"}
    command = [sys.executable, "-c", RANK, str(tmp_path / "config.yaml"), str(stop_rank)]
    environment = {**os.environ, **meeting, "PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"}
    ranks = [
        subprocess.Popen(command, env={**environment, "RANK": str(rank)}, stdout=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    return [rank.communicate(timeout=300)[0].strip() for rank in ranks]


@pytest.mark.slow
def test_ranks_make_together_what_one_makes_alone(config, tmp_path, monkeypatch):
    monkeypatch.setattr(collect_stats, "BLOCK", 2)
    single = {path: path.read_bytes() for path in run(config, Task.single("collect_stats")).outputs}
    shutil.rmtree(tmp_path / "stats")
    assert two_ranks(config, tmp_path, stop_rank=-1) == [str(len(single)), "0"]
    assert {path: path.read_bytes() for path in single} == single


@pytest.mark.slow
@pytest.mark.parametrize("stop_rank", [0, 1])
def test_no_rank_waits_for_one_that_stops_and_nothing_is_written(config, tmp_path, stop_rank):
    first, second = two_ranks(config, tmp_path, stop_rank)
    assert first.startswith("stopped")
    assert second.startswith("stopped" if stop_rank == 1 else "0")
    assert not (tmp_path / "stats").exists()


def test_a_mistake_in_the_configuration_is_told_with_its_key(config):
    config.dataset.train[0].dataset.path = "gone.jsonl"
    with pytest.raises(UserError, match=r"^dataset\.train\[0\]\.dataset: no manifest at gone\.jsonl"):
        run(config, Task.single("collect_stats"))
