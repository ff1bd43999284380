"""The vocoder's stage 3 on signals whose scores are known, its files, and the whole recipe."""

import csv
import json
import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from espnet3.components.checkpoint.ranking import read_ranking
from espnet3.components.data.combined_dataset import CombinedDataset, DatasetEntry
from espnet3.rundir.stop import StopFlag, Stopped
from espnet3.rundir.task import Task

ROOT = Path(__file__).resolve().parents[3]
RECIPE = ROOT / "egs" / "mini_digits" / "vocoder"


@pytest.fixture(autouse=True, scope="module")
def vocoder_path(recipe_path: None) -> Iterator[None]:
    import sys

    sys.path.insert(0, str(RECIPE))
    yield
    sys.path.remove(str(RECIPE))


@pytest.fixture(scope="module")
def dataset(make: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> CombinedDataset:
    """Five utterances of the test's speakers."""
    from segments import SpeechDataset

    folder = tmp_path_factory.mktemp("data16k")
    make(folder, sample_rate=16000, utterances={"train": 1, "valid": 1, "test": 5}, snr_db=[25.0, 30.0])
    speech = SpeechDataset(folder / "test.jsonl", sample_rate=16000, to=8000, min_snr_db=20.0)
    return CombinedDataset([DatasetEntry("test", speech, None, "dataset.test[0]")])


class Distorted(torch.nn.Module):
    """Gives the speech back with noise of `noise` times its level, and `gain` times as loud."""

    def __init__(self, noise: float = 0.0, gain: float = 1.0) -> None:
        from mel import LogMel

        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.mel = LogMel(8000)
        self.noise, self.gain = noise, gain

    def resynthesize(self, speech: torch.Tensor) -> torch.Tensor:
        speech = speech[:, : speech.shape[1] // 64 * 64]
        torch.manual_seed(0)
        return self.gain * (speech + self.noise * speech.std() * torch.randn_like(speech))


def evaluate(
    model: torch.nn.Module, dataset: CombinedDataset, folder: Path, samples: int = 0
) -> dict[str, float]:
    from evaluate import Resynthesis

    metrics = Resynthesis(samples)(model, dataset, "test", folder, Task.single("validate"))
    metrics.pop("pesq", None)  # where the package is installed
    return metrics


def test_speech_that_comes_back_as_it_was_is_perfect(dataset: CombinedDataset, tmp_path: Path):
    metrics = evaluate(Distorted(), dataset, tmp_path)
    assert metrics == {"mel_l1": 0.0, "stoi": pytest.approx(1.0)}


def test_speech_that_comes_back_louder_is_as_intelligible(dataset: CombinedDataset, tmp_path: Path):
    metrics = evaluate(Distorted(gain=2.0), dataset, tmp_path)
    assert metrics["stoi"] == pytest.approx(1.0)
    assert metrics["mel_l1"] == pytest.approx(math.log(2), abs=0.02)


def test_more_noise_is_further_away_and_less_intelligible(dataset: CombinedDataset, tmp_path: Path):
    seen = [evaluate(Distorted(noise=noise), dataset, tmp_path) for noise in (0.0, 0.5, 3.0)]
    distances, intelligible = ([metrics[key] for metrics in seen] for key in ("mel_l1", "stoi"))
    assert distances == sorted(distances) and len(set(distances)) == 3
    assert intelligible == sorted(intelligible, reverse=True) and intelligible[-1] < 0.75


def test_it_writes_every_score_and_some_utterances_with_their_references(
    dataset: CombinedDataset, tmp_path: Path
):
    (tmp_path / "test-00099.wav").touch()  # of the time before
    metrics = evaluate(Distorted(noise=0.3), dataset, tmp_path, samples=2)
    header, *lines = (tmp_path / "scores.tsv").read_text().splitlines()
    assert header.split("\t") == ["uid", "mel_l1", "stoi", "pesq"] and len(lines) == 5
    rows = {line.split("\t")[0]: [float(value) for value in line.split("\t")[1:3]] for line in lines}
    distances = [row[0] for row in rows.values()]
    assert rows.keys() == set(dataset.uids()) and distances == sorted(distances, reverse=True)
    assert np.mean(list(rows.values()), axis=0) == pytest.approx(list(metrics.values()), abs=1e-3)
    written = {"test-00001", "test-00003"}
    assert {path.stem for path in tmp_path.glob("*.wav")} == written | {f"{uid}-reference" for uid in written}
    for uid in written:
        speech = dataset[dataset.uids().index(uid)][1]["speech"]
        reference, rate = soundfile.read(tmp_path / f"{uid}-reference.wav", dtype="float32")
        generated, _ = soundfile.read(tmp_path / f"{uid}.wav", dtype="float32")
        assert rate == 8000 and len(reference) == len(generated) == len(speech) // 64 * 64
        assert np.abs(reference - speech[: len(reference)]).max() < 1e-4
        assert 0.1 < np.std(generated - reference) / np.std(reference) < 0.5


def test_the_picture_has_a_row_for_each_utterance_written(dataset: CombinedDataset, tmp_path: Path):
    from matplotlib.image import imread

    shapes = []
    for count in (1, 3):
        evaluate(Distorted(), dataset, tmp_path, samples=count)
        shapes.append(imread(tmp_path / "mels.png").shape)
    assert shapes[1][1] == shapes[0][1] and shapes[1][0] > 2 * shapes[0][0]


def test_asked_to_stop_it_writes_no_scores(dataset: CombinedDataset, tmp_path: Path):
    from evaluate import Resynthesis

    stop = StopFlag()
    stop.set("test")
    with pytest.raises(Stopped, match="0 of 5 utterances of test"):
        Resynthesis()(Distorted(), dataset, "test", tmp_path, Task(stage="validate", stop=stop))
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_measured_is_left_out_of_the_means(dataset: CombinedDataset):
    from evaluate import Score, means, stoi

    short = dataset[0][1]["speech"][4000:6000]
    assert math.isnan(stoi(short, short, 8000))
    nan = math.nan
    assert means([Score("a", 0.5, 0.75, nan), Score("b", 1.5, nan, nan)]) == {"mel_l1": 1.0, "stoi": 0.75}


def test_pesq_is_not_measured_where_it_is_not_installed(dataset: CombinedDataset, monkeypatch):
    import evaluate

    monkeypatch.setattr(evaluate.importlib.util, "find_spec", lambda name: None)
    speech = dataset[0][1]["speech"]
    assert math.isnan(evaluate.pesq(speech, speech, 8000))


def test_pesq_is_best_for_speech_as_it_was(dataset: CombinedDataset):
    pytest.importorskip("pesq")
    from evaluate import pesq

    speech = dataset[0][1]["speech"]
    noisy = speech + 0.5 * speech.std() * np.random.default_rng(0).standard_normal(len(speech))
    assert pesq(speech, speech, 8000) > 4.4 > pesq(speech, noisy.astype(np.float32), 8000) + 1
    assert math.isnan(pesq(speech, speech, 11025))


@pytest.mark.parametrize(
    ("count", "wanted", "chosen"), [(5, 2, {1, 3}), (3, 7, {0, 1, 2}), (100, 1, {50}), (4, 0, set())]
)
def test_the_utterances_written_are_spread_over_the_split(count: int, wanted: int, chosen: set[int]):
    from evaluate import spread

    assert spread(count, wanted) == chosen


@pytest.mark.slow
def test_the_small_experiment_runs_all_stages_and_gets_better(run, tmp_path: Path):
    corpus = tmp_path / "egs" / "mini_digits"
    leave = shutil.ignore_patterns("exp", "data", "__pycache__")
    shutil.copytree(ROOT / "egs" / "mini_digits", corpus, ignore=leave)
    recipe = corpus / "vocoder"
    # in two parts: the second goes on from the first's checkpoint, on two ranks
    rates = ("optimizers.generator.optimizer.lr=3e-3", "optimizers.discriminator.optimizer.lr=5e-4")
    rates += ("trainer.log_every_n_steps=1",)
    two = ("resources.train.tasks_per_node=2", "resources.train.cpus_per_task=1")
    seen = []
    for epochs, more in ((1, ()), (6, two)):
        code, output = run(recipe, "+experiment=small", f"trainer.max_epochs={epochs}", *rates, *more)
        assert code == 0, output
        seen.append(json.loads((recipe / "exp" / "small" / "validate" / "metrics.json").read_text()))
    for first, last in ([scores["metrics"][split] for scores in seen] for split in ("valid", "test")):
        assert last["mel_l1"] < 0.9 * first["mel_l1"] and first["stoi"] < last["stoi"] <= 1
    best = read_ranking(recipe / "exp" / "small" / "checkpoints").best[0]
    last = seen[-1]["metrics"]["valid"]["mel_l1"]
    assert last == pytest.approx(best.value, rel=1e-4), "as stage 2 measured it"
    for split in ("valid", "test"):
        folder = recipe / "exp" / "small" / "validate" / split
        assert len(list(folder.glob("*.wav"))) == 4 and (folder / "mels.png").is_file()
    assert "ranks: 2 on 1 node" in output
    with (recipe / "exp" / "small" / "csv" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {"valid/generator/loss", "valid/discriminator/loss", "valid/mel_l1"} <= rows[0].keys()
    for name, rate in (("generator", 3e-3), ("discriminator", 5e-4)):
        used = [float(row[f"train/{name}/lr"]) for row in rows if row[f"train/{name}/lr"]]
        assert used[0] == pytest.approx(rate) and used[-1] < rate, "as given, then by the scheduler"

    # the other recipe's corpus is the same: it is not made again
    code, output = run(corpus / "asr", "+experiment=small", "--stop-stage", "0")
    assert code == 0 and "skipped" in output, output
