"""The vocoder: its data, mel, networks and losses, and that it learns to speak."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from espnet3.components.data.combined_dataset import CombinedDataset, DatasetEntry
from espnet3.components.data.loading.collate import CommonCollateFn
from espnet3.components.modeling.metrics.metric_sums import MetricSums
from espnet3.errors import UserError
from espnet3.rundir.task import Task

RECIPE = Path(__file__).resolve().parents[3] / "egs" / "mini_digits" / "vocoder"


@pytest.fixture(autouse=True, scope="module")
def vocoder_path(recipe_path: None) -> Iterator[None]:
    import sys

    sys.path.insert(0, str(RECIPE))
    yield
    sys.path.remove(str(RECIPE))


@pytest.fixture(scope="module")
def corpus(make: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data16k")
    make(folder, sample_rate=16000)
    return folder


@pytest.fixture(scope="module")
def dataset(corpus: Path) -> Any:
    from segments import SpeechDataset

    return SpeechDataset(corpus / "train.jsonl", sample_rate=16000, to=8000, min_snr_db=15.0)


@pytest.fixture(scope="module")
def speech(dataset: Any) -> torch.Tensor:
    """(4, 4096), the middle of four utterances."""
    starts = [len(dataset[index]["speech"]) // 2 - 2048 for index in range(4)]
    return torch.stack(
        [torch.tensor(dataset[i]["speech"][start : start + 4096]) for i, start in enumerate(starts)]
    )


@pytest.fixture
def vocoder(speech: torch.Tensor, tmp_path: Path) -> Any:
    """A narrow one that normalizes by the statistics of `speech`."""
    from discriminator import Discriminator
    from espnet3.components.data.feature_stats import FeatureStats
    from espnet3.components.modeling.global_mvn import GlobalMVN
    from generator import Generator
    from mel import LogMel
    from model import Vocoder

    mel, stats = LogMel(8000), FeatureStats()
    stats.add(mel(speech).flatten(0, 1).numpy())
    stats.write(tmp_path / "feats_stats.npz")
    torch.manual_seed(0)
    return Vocoder(
        mel,
        GlobalMVN(tmp_path / "feats_stats.npz"),
        Generator(40, 64, channels=48),
        Discriminator((2, 3), (4, 8), level=0.06),
    )


# --- data ---------------------------------------------------------------------------------------------


def test_utterances_with_more_noise_are_left_out(corpus: Path, dataset: Any):
    lines = [json.loads(line) for line in (corpus / "train.jsonl").read_text().splitlines()]
    quiet = [line["uid"] for line in lines if line["snr_db"] >= 15]
    assert 0 < len(quiet) < len(lines)
    assert dataset.uids() == quiet == [dataset[index]["uid"] for index in range(len(dataset))]
    assert len(dataset.files()) == 1 + len(quiet)


def test_that_no_utterance_is_left_is_said(corpus: Path):
    from segments import SpeechDataset

    with pytest.raises(UserError, match=r"none of 20 utterances in .* has 99.0 dB"):
        SpeechDataset(corpus / "train.jsonl", sample_rate=16000, to=8000, min_snr_db=99.0)


def test_speech_is_resampled_to_the_vocoders_rate(corpus: Path, dataset: Any):
    from mel import LogMel

    wave, rate = soundfile.read(dataset.files()[1], dtype="float32")
    resampled = dataset[0]["speech"]
    assert rate == 16000 and resampled.dtype == np.float32 and abs(2 * len(resampled) - len(wave)) <= 2
    # the same window in seconds, and of twice the rate only the filters below 4 kHz
    half = torch.stft(torch.tensor(resampled), 256, 64, window=torch.hann_window(256), return_complex=True)
    full = torch.stft(torch.tensor(wave), 512, 128, window=torch.hann_window(512), return_complex=True)
    frames = min(half.shape[1], full.shape[1])
    difference = (full[:110, :frames].abs() / 2 - half[:110, :frames].abs()).abs()
    assert difference.mean() < 0.02 * half.abs().mean()
    assert LogMel(8000)(torch.tensor(resampled)[None]).shape[1] == len(resampled) // 64


def test_segments_are_drawn_by_seed_epoch_and_uid(dataset: Any):
    from segments import RandomSegment

    parts = [DatasetEntry("train", dataset, RandomSegment(4096), "dataset.train[0]")]
    one, other = (CombinedDataset(parts, seed=seed) for seed in (1, 2))
    drawn = {epoch: one[epoch, 0][1]["speech"] for epoch in (0, 1)}
    assert np.array_equal(drawn[0], one[0][1]["speech"])
    assert not np.array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], other[0][1]["speech"])
    whole = dataset[0]["speech"]
    for segment in drawn.values():
        assert any(np.array_equal(whole[s : s + 4096], segment) for s in range(len(whole) - 4095))


def test_every_start_is_drawn_and_a_short_utterance_is_filled_up():
    from segments import RandomSegment

    rng, ramp = np.random.default_rng(0), np.arange(1, 11, dtype=np.float32)
    starts = {int(RandomSegment(8)({"speech": ramp}, rng=rng)["speech"][0]) for _ in range(100)}
    assert starts == {1, 2, 3}
    short = RandomSegment(12)({"uid": "a", "speech": ramp}, rng=rng)
    assert short["uid"] == "a" and short["speech"].tolist() == [*range(1, 11), 0, 0]


# --- mel ----------------------------------------------------------------------------------------------


def test_a_tone_is_loudest_in_the_mel_band_of_its_frequency():
    from mel import LogMel

    tone = 0.3 * torch.sin(2 * torch.pi * 1000 * torch.arange(8000) / 8000)
    mel = LogMel(8000)(tone[None])
    band = np.log(1 + 1000 / 700) / np.log(1 + 4000 / 700) * 41 - 1
    assert mel.shape == (1, 125, 40)
    assert mel[0, 60].argmax() == pytest.approx(band, abs=1)
    assert LogMel(8000)(2 * tone[None])[0, 60].max() - mel[0, 60].max() == pytest.approx(np.log(2), abs=1e-4)


def test_silence_is_at_the_floor_and_its_gradient_is_finite():
    from mel import LogMel

    silence = torch.zeros(1, 4096, requires_grad=True)
    mel = LogMel(8000, floor=1e-3)(silence)
    assert torch.allclose(mel, torch.tensor(1e-3).log())
    LogMel(8000, floor=1e-9)(silence).sum().backward()
    assert silence.grad is not None and silence.grad.isfinite().all()


def test_too_many_filters_for_the_window_are_refused():
    from mel import LogMel

    with pytest.raises(ValueError, match="200 mel filters"):
        LogMel(8000, num_mels=200)


# --- networks -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("rates", [(8,), (4, 2), (2, 2, 2)])
def test_the_generator_makes_a_hop_of_samples_for_each_frame(rates: tuple[int, ...]):
    from generator import Generator

    generator = Generator(40, 64, channels=32, rates=rates)
    assert generator(torch.randn(2, 17, 40)).shape == (2, 17 * 64)


@pytest.mark.parametrize("rates", [(3,), (8, 16), (1,)])
def test_rates_that_do_not_make_the_hop_are_refused(rates: tuple[int, ...]):
    from generator import Generator

    with pytest.raises(ValueError, match="rates must be even and divide the hop 64"):
        Generator(40, 64, rates=rates)


def test_the_generator_sets_magnitude_and_phase():
    from generator import Generator

    generator = Generator(40, 64, channels=16)
    bins = generator.last.out_channels // 2
    waves = []
    for magnitude, phase in ((0.0, 0.0), (np.log(2), 0.0), (0.0, np.pi / 2)):  # a sine of 1 is a phase of pi
        with torch.no_grad():
            generator.last.weight.zero_()
            generator.last.bias[:bins], generator.last.bias[bins:] = -20.0, float(phase)
            generator.last.bias[4] = float(magnitude)  # of 1 kHz: a whole cycle in a hop
            waves.append(generator(torch.zeros(1, 20, 40)))
    assert waves[0].std() > 0.01
    torch.testing.assert_close(waves[1], 2 * waves[0])
    torch.testing.assert_close(waves[2], -waves[0], atol=1e-5, rtol=0)


def test_a_wave_is_judged_alike_in_any_batch(speech: torch.Tensor):
    from discriminator import Discriminator

    discriminator = Discriminator()
    together = discriminator(speech)
    assert len(together) == 4
    for index in range(4):
        for maps, expected in zip(together, discriminator(speech[index : index + 1]), strict=True):
            for layer, single in zip(maps, expected, strict=True):
                torch.testing.assert_close(layer.chunk(4)[index], single)


def test_a_period_discriminator_cannot_mix_the_starts():
    from discriminator import PeriodDiscriminator

    wave = torch.randn(1, 3 * 81)
    changed = wave.clone()
    changed[0, 1::3] = 0.0
    discriminator = PeriodDiscriminator(3, (4, 8))
    before, after = discriminator(wave)[-1], discriminator(changed)[-1]
    same = [torch.equal(one, other) for one, other in zip(before, after, strict=True)]
    assert same == [True, False, True]


# --- losses -------------------------------------------------------------------------------------------


def scores(value: float) -> list[list[torch.Tensor]]:
    """Maps of two discriminators, whose scores are `value`."""
    return [[torch.ones(2, 3, 4) * value, torch.full((2, 1, 5), value)] for _ in range(2)]


def test_the_discriminator_gains_by_telling_and_the_generator_by_deceiving():
    from model import adversarial_loss, discriminator_loss

    assert discriminator_loss(scores(1.0), scores(0.0)) == 0
    assert discriminator_loss(scores(0.5), scores(0.5)) == pytest.approx(0.5)
    assert discriminator_loss(scores(0.0), scores(1.0)) == 2
    assert adversarial_loss(scores(1.0)) == 0 and adversarial_loss(scores(0.0)) == 1


def test_features_of_real_speech_are_an_aim_that_does_not_move():
    from model import feature_loss

    real = [[torch.zeros(2, 3, 4, requires_grad=True), torch.zeros(2, 1, 5)]]
    generated = [[torch.full((2, 3, 4), 0.25, requires_grad=True), torch.ones(2, 1, 5)]]
    loss = feature_loss(real, generated)  # the scores, which differ by 1, do not count
    loss.backward()
    assert loss.item() == 0.25
    assert real[0][0].grad is None and generated[0][0].grad is not None


def gradients(loss: torch.Tensor, module: torch.nn.Module) -> list[torch.Tensor]:
    return list(torch.autograd.grad(loss, list(module.parameters()), retain_graph=True))


def test_one_pass_gives_each_network_the_gradient_of_its_own_loss(vocoder: Any, speech: torch.Tensor):
    from model import adversarial_loss, discriminator_loss, feature_loss

    (judging, generating), stats, weight = vocoder(speech)
    assert (judging.name, generating.name, weight.item()) == ("discriminator", "generator", 4)
    assert stats.keys() == {"mel_l1", "adversarial", "feature_matching"}

    generated = vocoder.generator(vocoder.normalize(vocoder.mel(speech)))
    of_real = vocoder.discriminator(speech)
    apart = discriminator_loss(of_real, vocoder.discriminator(generated.detach()))
    of_generated = vocoder.discriminator(generated)
    mel_l1 = (vocoder.mel(generated) - vocoder.mel(speech)).abs().mean()
    deceiving = adversarial_loss(of_generated) + 2 * feature_loss(of_real, of_generated) + 45 * mel_l1
    torch.testing.assert_close(
        gradients(judging.loss, vocoder.discriminator), gradients(apart, vocoder.discriminator)
    )
    torch.testing.assert_close(
        gradients(generating.loss, vocoder.generator), gradients(deceiving, vocoder.generator)
    )


def test_in_half_precision_distances_are_as_exact(vocoder: Any, speech: torch.Tensor):
    mel = vocoder.mel(speech)
    with torch.autocast("cpu", torch.bfloat16):
        steps, stats, _ = vocoder(speech)
        assert torch.equal(vocoder.mel(speech), mel)
    _, expected, _ = vocoder(speech)
    assert all(step.loss.dtype == torch.float32 for step in steps)
    torch.testing.assert_close(stats, expected, atol=0.02, rtol=0.02)
    torch.autograd.grad(steps[1].loss, list(vocoder.generator.parameters()))


def test_in_evaluation_each_utterance_counts_as_a_whole_and_padding_is_not_heard(
    vocoder: Any, speech: torch.Tensor
):
    vocoder.eval()
    lengths = torch.tensor([3000, 4096, 3500, 2100])
    padded = speech.clone()
    for row, length in zip(padded, lengths, strict=True):
        row[length:] = 0.5
    steps, stats, weight = vocoder(padded, lengths)
    alone = [vocoder(row[None, :length]) for row, length in zip(speech, lengths, strict=True)]
    for key, value in stats.items():
        assert value == pytest.approx(np.mean([float(own[key]) for _, own, _ in alone]))
    assert steps[1].loss.item() == pytest.approx(np.mean([own[1].loss.item() for own, _, _ in alone]))
    assert weight == 4


def test_validation_in_any_batches_and_stage_3_measure_the_same_distance(
    vocoder: Any, dataset: Any, tmp_path: Path
):
    from evaluate import Resynthesis

    vocoder.eval()
    data = CombinedDataset([DatasetEntry("train", dataset, None, "dataset.train[0]")])
    of_stage_3 = Resynthesis(0)(vocoder, data, "valid", tmp_path, Task.single("validate"))["mel_l1"]
    sums, collate = MetricSums(), CommonCollateFn()
    for start in range(0, len(data), 3):
        _, samples = collate([data[index] for index in range(start, min(start + 3, len(data)))])
        _, stats, weight = vocoder(**samples)
        sums.add(stats, weight)
    assert float(sums.means(torch.device("cpu"), 1)["mel_l1"]) == pytest.approx(of_stage_3, rel=1e-5)


def test_stage_1_sees_the_log_mel_of_the_speech(vocoder: Any, speech: torch.Tensor):
    features = vocoder.collect_feats(speech=speech, speech_lengths=torch.full((4,), 4096))
    assert torch.equal(features["feats"], vocoder.mel(speech))
    assert features["feats_lengths"].tolist() == [64] * 4


@pytest.mark.slow
def test_it_learns_to_say_what_it_hears(vocoder: Any, speech: torch.Tensor):
    learned = {
        "generator": (vocoder.generator, 2e-3),
        "discriminator": (vocoder.discriminator, 1e-3),
    }
    optimizers = {
        name: torch.optim.AdamW(module.parameters(), lr, betas=(0.8, 0.99))
        for name, (module, lr) in learned.items()
    }
    seen = []
    for _ in range(80):
        steps, stats, _ = vocoder(speech)
        found = {step.name: gradients(step.loss, learned[step.name][0]) for step in steps}
        for name, (module, _) in learned.items():
            for parameter, gradient in zip(module.parameters(), found[name], strict=True):
                parameter.grad = gradient
            optimizers[name].step()
        seen.append({**{key: float(value) for key, value in stats.items()}, "judging": steps[0].loss.item()})
    assert seen[-1]["mel_l1"] < 0.5 * seen[0]["mel_l1"]
    assert seen[-1]["judging"] < 0.5 < seen[0]["judging"]
    vocoder.eval()
    assert vocoder.resynthesize(speech[:, :1000]).shape == (4, 960)
