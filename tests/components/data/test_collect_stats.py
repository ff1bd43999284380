"""Statistics equal NumPy's on real audio, to the last bit whatever batches and workers read it."""

import numpy as np
import pytest
import torch

from espnet3.components.data import collect_stats as module
from espnet3.components.data.collect_stats import collect_rank_stats, collect_stats, write_stats
from espnet3.components.data.data_organizer import DataOrganizer
from espnet3.components.data.loading.collate import CommonCollateFn
from espnet3.components.data.manifest import ManifestDataset
from espnet3.components.data.shape_files import read_shape_file
from espnet3.errors import UserError

COLLATE = CommonCollateFn(int_pad_value=-1)


def collect(model, organizer, folder, **options):
    return collect_stats(model, organizer, stats_dir=folder, collate_fn=COLLATE, **options)


def features(model, dataset):
    """(T, 4) of every utterance, by NumPy from the audio."""
    filters = model.filters.detach().numpy()
    for index in range(len(dataset)):
        uid, data = dataset[index]
        frames = np.lib.stride_tricks.sliding_window_view(data["speech"], 200)[::80]
        yield uid, np.log(np.square(frames @ filters.T) + 1e-6)


def test_statistics_and_shapes_are_those_of_the_data(model, organizer, tmp_path):
    written = collect(model, organizer, tmp_path)
    for split in ("train", "valid"):
        expected = dict(features(model, getattr(organizer, split)))
        frames = np.concatenate(list(expected.values())).astype(np.float64)
        with np.load(tmp_path / split / "feats_stats.npz") as stats:
            assert stats["sum"].dtype == stats["sum_square"].dtype == np.float64
            assert stats["count"] == len(frames)
            np.testing.assert_allclose(stats["sum"], frames.sum(0), rtol=1e-5)
            np.testing.assert_allclose(stats["sum_square"], np.square(frames).sum(0), rtol=1e-5)
        shapes = read_shape_file(tmp_path / split / "feats_shape")
        assert list(shapes.items()) == [(uid, feature.shape) for uid, feature in expected.items()]
        assert (tmp_path / split / "stats_keys").read_text() == "feats\n"
        assert (tmp_path / split / "batch_keys").read_text() == "speech\ntokens\n"
    assert sorted(written) == sorted(path for path in tmp_path.rglob("*") if path.is_file())


def test_frames_beyond_the_length_do_not_count(model, organizer, tmp_path):
    class Padding(torch.nn.Module):
        """Rounds the number of frames up, as a subsampling front end does."""

        def collect_feats(self, **batch):
            feats = model.collect_feats(**batch)
            return {**feats, "feats": torch.nn.functional.pad(feats["feats"], (0, 0, 0, 5), value=99.0)}

    model.eval()  # it is no part of Padding
    written = collect(model, organizer, tmp_path / "exact")
    collect(Padding(), organizer, tmp_path / "padded")
    for path in written:
        assert (tmp_path / "padded" / path.relative_to(tmp_path / "exact")).read_bytes() == path.read_bytes()


def test_shapes_of_the_inputs_are_there_for_bucketing(model, organizer, tmp_path):
    collect(model, organizer, tmp_path)
    for key in ("speech", "tokens"):
        shapes = read_shape_file(tmp_path / "train" / f"{key}_shape")
        assert shapes == {uid: (len(data[key]),) for uid, data in map(organizer.train.__getitem__, range(23))}


@pytest.mark.parametrize(("batch_size", "num_workers"), [(1, 0), (7, 0), (100, 0), (1, 2), (5, 2)])
def test_batch_size_and_workers_change_no_bit(model, organizer, tmp_path, batch_size, num_workers):
    expected = {
        p.relative_to(tmp_path / "a"): p.read_bytes() for p in collect(model, organizer, tmp_path / "a")
    }
    again = collect(model, organizer, tmp_path / "b", batch_size=batch_size, num_workers=num_workers)
    assert {p.relative_to(tmp_path / "b"): p.read_bytes() for p in again} == expected


@pytest.mark.parametrize("world_size", [2, 3, 9])
def test_ranks_share_the_utterances_and_change_no_bit(
    model, organizer, tmp_path, world_size, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "BLOCK", 4)  # six blocks of train, two of valid

    def dithering(**batch):
        return {
            **(feats := type(model).collect_feats(model, **batch)),
            "feats": feats["feats"] + torch.rand(()),
        }

    model.collect_feats = dithering
    expected = {
        p.relative_to(tmp_path / "a"): p.read_bytes() for p in collect(model, organizer, tmp_path / "a")
    }
    parts = [
        collect_rank_stats(
            model, organizer, collate_fn=COLLATE, batch_size=3, rank=rank, world_size=world_size
        )
        for rank in range(world_size)
    ]
    sizes = [sum(len(block.uids) for block in part.splits["train"]) for part in parts]
    assert sum(sizes) == 23 and max(sizes) < 23
    written = write_stats(parts, tmp_path / "b")
    assert {p.relative_to(tmp_path / "b"): p.read_bytes() for p in written} == expected


def test_random_transforms_draw_as_in_epoch_0_in_any_worker(model, train_manifest, tmp_path):
    def noisy(sample, rng):
        return {"speech": sample["speech"] + np.float32(rng.normal()) + torch.rand(()).item()}

    organizer = DataOrganizer(
        [{"name": "mini", "dataset": ManifestDataset(train_manifest), "transform": noisy}]
    )
    for workers in (0, 2):
        collect(model, organizer, tmp_path / str(workers), num_workers=workers, batch_size=3)
    here, there = ((tmp_path / str(w) / "train/feats_stats.npz").read_bytes() for w in (0, 2))
    assert here == there
    assert not (tmp_path / "0" / "valid").exists()  # there is no such data


def test_the_model_evaluates_without_gradient_and_each_module_gets_its_mode_back(model, organizer, tmp_path):
    modes = []
    model.train()
    model.dropout.eval()  # a part that is frozen
    collect_feats = model.collect_feats

    def observed(**batch):
        modes.append((model.training, model.dropout.training, torch.is_grad_enabled()))
        return collect_feats(**batch)

    model.collect_feats = observed
    collect(model, organizer, tmp_path)
    assert set(modes) == {(False, False, False)}
    assert (model.training, model.dropout.training, torch.is_grad_enabled()) == (True, False, True)


def test_progress_is_told_by_utterances(model, organizer, tmp_path):
    told = []
    collect(model, organizer, tmp_path, batch_size=10, progress=lambda *numbers: told.append(numbers))
    assert told == [(10, 30), (20, 30), (23, 30), (30, 30)]


def test_nothing_is_written_when_it_is_ended_early(model, organizer, tmp_path):
    def interrupt(done, total):
        if done == total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        collect(model, organizer, tmp_path, progress=interrupt)
    assert list(tmp_path.iterdir()) == []
    assert model.training


def test_the_global_generator_is_not_touched(model, organizer, tmp_path):
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    collect(model, organizer, tmp_path)
    assert torch.equal(torch.rand(3), expected)


def test_features_of_one_number_a_frame_have_scalar_sums(organizer, tmp_path):
    class Energy(torch.nn.Module):
        def collect_feats(self, speech, speech_lengths, **_):
            return {"speech": speech.square(), "speech_lengths": speech_lengths}

    collect(Energy(), organizer, tmp_path, splits=["valid"])
    with np.load(tmp_path / "valid/speech_stats.npz") as stats:
        assert stats["sum"].shape == ()
        squares = [np.square(organizer.valid[i][1]["speech"]).astype(float) for i in range(7)]
        np.testing.assert_allclose(stats["sum"], np.concatenate(squares).sum())
    assert not (tmp_path / "train").exists()


def feats(result):
    model = torch.nn.Identity()
    model.collect_feats = lambda **_: result
    return model


ONE = torch.ones(1, 5, 2)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (torch.nn.Linear(1, 1), r"Linear has no collect_feats\(\*\*batch\)"),
        (feats(ONE), r"collect_feats must give a dict, not Tensor \(uid 'spk0-000'\)"),
        (feats({}), "collect_feats gave no features for uid 'spk0-000'"),
        (feats({"feats": ONE}), r"collect_feats gives 'feats' without 'feats_lengths' \(B,\)"),
        (
            feats({"feats": ONE, "feats_lengths": torch.tensor([6])}),
            r"'feats' of uid 'spk0-000' must be \(B, T, ...\) .* it is \(1, 5, 2\) with lengths \[6\]",
        ),
        (
            feats({"feats": torch.ones(5), "feats_lengths": torch.tensor([5])}),
            r"'feats' of uid 'spk0-000' must be \(B, T, ...\)",
        ),
        (
            feats({"feats": ONE * torch.nan, "feats_lengths": torch.tensor([5])}),
            "'feats' of uid 'spk0-000' holds NaN or Inf",
        ),
    ],
)
def test_a_model_that_breaks_the_contract_is_named(organizer, tmp_path, model, message):
    with pytest.raises(UserError, match=message):
        collect(model, organizer, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_uid_that_occurs_twice_is_named(model, train_manifest, tmp_path, monkeypatch: pytest.MonkeyPatch):
    data = ManifestDataset(train_manifest)
    organizer = DataOrganizer([{"name": "a", "dataset": data}, {"name": "b", "dataset": data}])
    with pytest.raises(UserError, match=r"uid 'spk0-000' occurs twice in dataset\.train"):
        collect(model, organizer, tmp_path)
    monkeypatch.setattr(module, "BLOCK", 1)  # one rank has each data set
    parts = [collect_rank_stats(model, organizer, collate_fn=COLLATE, rank=n, world_size=2) for n in range(2)]
    with pytest.raises(UserError, match=r"uid 'spk0-000' occurs twice in dataset\.train"):
        write_stats(parts, tmp_path)


def test_no_data_at_all_is_an_error(model, tmp_path):
    with pytest.raises(UserError, match=r"dataset\.train and dataset\.valid are empty"):
        collect(model, DataOrganizer(), tmp_path)
