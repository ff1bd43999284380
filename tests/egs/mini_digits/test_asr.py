"""The digit recognizer: features, a model that ignores padding and learns, its schedule, its error rates."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from espnet3.components.data.combined_dataset import CombinedDataset, DatasetEntry
from espnet3.components.data.loading.collate import CommonCollateFn
from espnet3.components.modeling.metrics.metric_sums import MetricSums
from espnet3.rundir.stop import StopFlag, Stopped
from espnet3.rundir.task import Task

CORPUS = Path(__file__).resolve().parents[3] / "egs" / "mini_digits"


@pytest.fixture
def dataset(small_corpus: Path) -> CombinedDataset:
    from features import DigitDataset

    digits = DigitDataset(small_corpus / "train.jsonl", sample_rate=8000, num_mels=40)
    return CombinedDataset([DatasetEntry("train", digits, None, "dataset.train[0]")])


@pytest.fixture
def model(dataset: CombinedDataset, tmp_path: Path) -> torch.nn.Module:
    """A small model that normalizes by the statistics of the corpus."""
    from espnet3.components.data.feature_stats import FeatureStats
    from espnet3.components.modeling.global_mvn import GlobalMVN
    from model import CtcModel

    stats = FeatureStats()
    for index in range(len(dataset)):
        stats.add(dataset[index][1]["feats"])
    stats.write(tmp_path / "feats_stats.npz")
    torch.manual_seed(0)
    return CtcModel(
        40, 11, GlobalMVN(tmp_path / "feats_stats.npz"), channels=48, dilations=(1, 2), dropout=0.0
    )


def test_tokens_are_the_digits_above_the_blank():
    from features import BLANK, NUM_TOKENS, to_text, to_tokens

    assert to_tokens("3 0 9") == [4, 1, 10]
    assert to_text(to_tokens("3 0 9")) == "3 0 9"
    assert BLANK not in to_tokens("0 1 2 3 4 5 6 7 8 9") and NUM_TOKENS == 11


def test_a_tone_is_loudest_in_the_mel_band_of_its_frequency():
    from features import log_mel

    tone = 0.3 * np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000)
    mel = log_mel(tone.astype(np.float32), 16000, 40)
    edges = 1127 * np.log(1 + np.array([20.0, 8000.0, 1000.0]) / 700)
    assert mel.shape == (100, 40) and mel.dtype == np.float32
    assert mel[50].argmax() == pytest.approx((edges[2] - edges[0]) / (edges[1] - edges[0]) * 41 - 1, abs=1)


def test_a_sample_has_the_features_and_tokens_of_its_line(small_corpus: Path, dataset: CombinedDataset):
    from features import to_text

    line = json.loads((small_corpus / "train.jsonl").read_text().splitlines()[3])
    uid, sample = dataset[3]
    assert (uid, to_text(sample["text"])) == (line["uid"], line["text"])
    assert sample["feats"].shape == (round(line["samples"] / 80), 40)


def test_an_utterance_gives_the_same_in_any_batch(model, dataset: CombinedDataset):
    model.eval()
    collate = CommonCollateFn()
    _, together = collate([dataset[index] for index in range(8)])
    log_probs, lengths = model.log_probs(together["feats"], together["feats_lengths"])
    assert len(set(lengths.tolist())) > 1
    for index in range(8):
        _, single = collate([dataset[index]])
        expected, _ = model.log_probs(single["feats"], single["feats_lengths"])
        torch.testing.assert_close(log_probs[index, : lengths[index]], expected[0], atol=1e-4, rtol=1e-4)


@pytest.mark.slow
def test_it_learns_what_a_few_utterances_say(model, dataset: CombinedDataset):
    _, batch = CommonCollateFn()([dataset[index] for index in range(4)])
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    first = None
    for _ in range(200):
        loss, stats, weight = model(**batch)
        first = first or float(loss.detach())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert weight == 4 and stats.keys() == {"loss"}
    model.eval()
    loss, stats, _ = model(**batch)
    assert float(loss.detach()) < first / 20
    error_rate = stats["token_error_rate"]
    assert error_rate.denominator == int(batch["text_lengths"].sum())
    assert error_rate.numerator / error_rate.denominator < 0.1


def test_validation_in_any_batches_and_stage_3_measure_the_same_error_rate(
    model, dataset: CombinedDataset, tmp_path: Path
):
    from decode import GreedyDecoding

    model.eval()
    of_stage_3 = GreedyDecoding(4)(model, dataset, "valid", tmp_path, Task.single("validate"))
    sums, rates, collate = MetricSums(), [], CommonCollateFn()
    for start in range(0, len(dataset), 3):
        _, batch = collate([dataset[index] for index in range(start, min(start + 3, len(dataset)))])
        _, stats, weight = model(**batch)
        sums.add(stats, weight)
        rates.append(stats["token_error_rate"].numerator / stats["token_error_rate"].denominator)
    error_rate = float(sums.means(torch.device("cpu"), 1)["token_error_rate"])
    assert error_rate == pytest.approx(of_stage_3["token_error_rate"], rel=1e-12)
    assert abs(np.mean(rates) - error_rate) > 1e-3, "batches differ, so the mean of their rates is another"


def test_greedy_decoding_joins_repetitions_and_drops_blanks():
    from model import greedy

    path = torch.tensor([[0, 4, 4, 0, 4, 2, 2, 9], [3, 3, 3, 0, 5, 5, 5, 5]])
    log_probs = torch.nn.functional.one_hot(path, 11).float()
    assert greedy(log_probs, torch.tensor([7, 4])) == [[4, 4, 2], [3]]


def test_the_mel_axis_is_stretched_and_masks_lie_inside_the_utterance(dataset: CombinedDataset):
    from augment import Augment, warped

    _, batch = CommonCollateFn()([dataset[index] for index in range(8)])
    feats, lengths = batch["feats"] - batch["feats"].mean(), batch["feats_lengths"]
    assert torch.equal(warped(feats, torch.ones(8)), feats)
    torch.testing.assert_close(warped(feats, torch.full((8,), 2.0))[:, :, :20], feats[:, :, :40:2])
    torch.manual_seed(0)
    hidden = Augment(warp=0.0, mel_masks=1, mel_width=8, time_masks=1, time_width=20)(feats, lengths)
    changed = (hidden != feats) & (torch.arange(feats.shape[1]) < lengths[:, None])[:, :, None]
    assert changed.any() and (hidden[changed] == 0).all()
    assert (changed.all(dim=1).sum(dim=1) <= 8).all() and (changed.all(dim=2).sum(dim=1) <= 20).all()


def rates(epochs: int, updates: int, per_epoch: int = 10) -> list[float]:
    scheduler, optimizer = schedule(epochs, per_epoch)
    seen = []
    for _ in range(updates):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return seen


def schedule(epochs: int, per_epoch: int) -> tuple[Any, torch.optim.Optimizer]:
    """With a highest rate of 2, which it reaches after a quarter of the updates."""
    from espnet3.components.modeling.training_length import TrainingLength
    from schedule import WarmupCosine

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    return WarmupCosine(
        optimizer, length=TrainingLength(per_epoch, epochs * per_epoch), warmup=0.25
    ), optimizer


def test_the_learning_rate_rises_in_a_line_and_falls_to_zero_at_the_last_update():
    seen = rates(epochs=4, updates=41)
    assert seen[:10] == pytest.approx([0.2 * n for n in range(1, 11)])
    assert seen[25] == pytest.approx(1.0) and seen[40] == pytest.approx(0.0)
    assert seen[10:] == sorted(seen[10:], reverse=True)


def test_fewer_updates_an_epoch_make_the_schedule_shorter():
    seen = rates(epochs=4, updates=21, per_epoch=5)
    assert seen[4] == pytest.approx(2.0) and seen[20] == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("epochs", "per_epoch", "at"),
    [(4, 10, 25), (4, 5, 12), (4, 40, 100), (8, 10, 25)],
    ids=["as before", "twice the ranks", "a quarter of the ranks", "more epochs"],
)
def test_a_continued_training_is_at_the_same_place_of_the_schedule_of_now(
    epochs: int, per_epoch: int, at: int
):
    before, optimizer = schedule(epochs=4, per_epoch=10)
    for _ in range(25):
        optimizer.step()
        before.step()
    state = before.state_dict()
    assert all(isinstance(value, int | float | bool | list) for value in state.values()), "plain data only"
    after, optimizer = schedule(epochs, per_epoch)
    after.load_state_dict(state)
    assert optimizer.param_groups[0]["lr"] == rates(epochs, at + 1, per_epoch)[at]
    optimizer.step()
    after.step()
    assert optimizer.param_groups[0]["lr"] == rates(epochs, at + 2, per_epoch)[at + 1]


def test_neither_more_ranks_nor_more_epochs_change_anything_else_of_the_configuration():
    from espnet3.config.compose import compose, find_recipe
    from espnet3.config.fingerprint import changes, stage_part

    def part(*overrides: str) -> dict[str, Any]:
        return stage_part(compose(find_recipe(CORPUS / "asr"), overrides), "train")

    assert part("resources.train.tasks_per_node=2") == part()
    assert changes(part(), part("trainer.max_epochs=30")) == ["trainer.max_epochs: 25 → 30"]


def test_error_rates_count_edits_per_token_and_wrong_utterances():
    from decode import Hypothesis, error_rates

    hypotheses = [
        Hypothesis("a", "1 2 3 4", "1 2 3 4"),
        Hypothesis("b", "5 6 7", "5 7"),
        Hypothesis("c", "8 9 0", "1 9 0 0"),
        Hypothesis("d", "1 2", ""),
    ]
    metrics = error_rates(hypotheses)
    assert metrics["token_error_rate"] == pytest.approx((0 + 1 + 2 + 2) / 12)
    assert metrics["utterance_error_rate"] == pytest.approx(3 / 4)


def test_hypotheses_stand_below_their_references_aligned():
    from decode import Hypothesis, aligned_text

    assert aligned_text(Hypothesis("u", "5 6 7", "5 7")) == "u  1 error\n  ref  5 6 7\n  hyp  5 * 7\n"
    assert aligned_text(Hypothesis("u", "8 9", "8 9 0 0")) == "u  2 errors\n  ref  8 9 * *\n  hyp  8 9 0 0\n"
    assert aligned_text(Hypothesis("u", "8", "8")) == "u  right\n  ref  8\n  hyp  8\n"


class Echo(torch.nn.Module):
    """Understands every utterance right, but those of 4 and 6 digits without the last."""

    def __init__(self, dataset: CombinedDataset) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        samples = [dataset[index][1] for index in range(20)]
        self.tokens = {float(data["feats"][0, 0]): data["text"] for data in samples}

    def decode(self, feats, feats_lengths):
        heard = [self.tokens[first] for first in feats[:, 0, 0].tolist()]
        return [tokens[:-1] if len(tokens) % 2 == 0 else tokens for tokens in heard]


def test_the_evaluator_writes_all_hypotheses_and_lists_the_wrong_ones(
    dataset: CombinedDataset, tmp_path: Path
):
    from decode import GreedyDecoding

    references = [dataset[index][1]["text"] for index in range(20)]
    wrong = sum(len(tokens) % 2 == 0 for tokens in references)
    metrics = GreedyDecoding(batch_size=7)(Echo(dataset), dataset, "test", tmp_path, Task.single("validate"))
    assert 0 < wrong < 20
    assert metrics["token_error_rate"] == pytest.approx(wrong / sum(map(len, references)))
    assert metrics["utterance_error_rate"] == pytest.approx(wrong / 20)
    assert (tmp_path / "hypotheses.txt").read_text().count("  ref  ") == 20
    worst = (tmp_path / "worst.txt").read_text()
    assert worst.count("  1 error\n") == worst.count("  ref  ") == wrong


def test_the_evaluator_stops_when_it_is_asked_to(dataset: CombinedDataset, tmp_path: Path):
    from decode import GreedyDecoding

    stop = StopFlag()
    stop.set("test")
    with pytest.raises(Stopped):
        GreedyDecoding()(Echo(dataset), dataset, "test", tmp_path, Task(stage="validate", stop=stop))
    assert not list(tmp_path.iterdir())
