"""Several datasets are one, transforms draw from (seed, epoch, uid), and errors name entry and uid."""

import pickle
import random

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from espnet3.components.data.combined_dataset import CombinedDataset, DatasetEntry, SampleError
from espnet3.components.data.manifest import ManifestDataset
from espnet3.errors import UserError


def combined(*datasets, transform=None, **options):
    names = "abc"
    return CombinedDataset(
        [
            DatasetEntry(names[i], data, transform, f"dataset.train[{i}] ({names[i]!r})")
            for i, data in enumerate(datasets)
        ],
        **options,
    )


def draws(rng=None):
    """One number of each generator."""
    numbers = [random.random(), np.random.rand(), torch.rand(()).item()]
    return [*numbers, rng.random()] if rng is not None else numbers


def drawing(sample, rng):
    return {"drawn": np.array(draws(rng))}


def kept(sample, *, rng):
    return sample


def test_parts_follow_one_another_and_a_uid_is_made_where_there_is_none():
    data = combined([{"uid": "x", "n": 0}, {"n": 1}], [], [{"n": 2}])
    assert len(data) == 3
    assert [data[i] for i in range(3)] == [("x", {"n": 0}), ("a-1", {"n": 1}), ("c-0", {"n": 2})]
    assert data[-1] == data[(7, 2)] == data[2]
    assert data.uids() == ["x", "a-1", "c-0"]
    assert list(data.entries) == ["a", "b", "c"]
    with pytest.raises(IndexError):
        data[3]


def test_uids_come_from_the_dataset_where_it_knows_them_without_reading_audio(train_manifest):
    class Unreadable(ManifestDataset):
        def __getitem__(self, index):
            raise AssertionError("audio was read")

    assert combined(Unreadable(train_manifest)).uids() == ManifestDataset(train_manifest).uids()


def test_a_uid_that_occurs_twice_is_named():
    with pytest.raises(
        UserError, match=r"uid 'x' occurs twice: in dataset.train\[0\] \('a'\) and in dataset"
    ):
        combined([{"uid": "x"}], [{"uid": "x"}]).uids()


def test_transform_then_preprocessor_see_the_uid_and_leave_the_dataset_alone():
    stored = [{"uid": "x", "n": 1}]

    def twice(sample):
        sample["n"] = sample["n"] * 2
        return sample

    data = combined(stored, transform=twice, preprocessor=lambda s: {"n": s["n"] + 1, "seen": s["uid"]})
    assert data[0] == data[0] == ("x", {"n": 3, "seen": "x"})
    assert stored == [{"uid": "x", "n": 1}]


def test_what_a_transform_draws_depends_on_seed_epoch_and_uid_only():
    samples = [{"uid": f"utt{i}"} for i in range(4)]
    data = combined(samples, transform=drawing, seed=1)
    there = combined(samples[2:], [{"uid": "other"}], transform=drawing, seed=1)
    first = data[(3, 2)][1]["drawn"]
    assert (first == data[(3, 2)][1]["drawn"]).all()
    assert (first == there[(3, 0)][1]["drawn"]).all()  # another index and part, the same uid
    others = [data[(3, 1)], data[(4, 2)], combined(samples, transform=drawing, seed=2)[(3, 2)]]
    for _, other in others:
        assert (other["drawn"] != first).all()


def test_a_dataset_that_draws_repeats_itself_too():
    class Cropping:
        def __len__(self):
            return 2

        def __getitem__(self, index):
            return {"drawn": draws()}

    data = combined(Cropping())
    assert data[(1, 0)] == data[(1, 0)]
    assert data[(1, 0)] != data[(2, 0)] != data[(2, 1)]


def test_workers_draw_what_the_main_process_draws():
    data = combined([{"uid": f"utt{i}"} for i in range(6)], transform=drawing, seed=1)
    keys = [(2, index) for index in range(6)]
    here = [data[key] for key in keys]
    loader = DataLoader(data, sampler=keys, batch_size=None, num_workers=2, collate_fn=lambda item: item)
    for (uid, mine), (other_uid, theirs) in zip(here, loader, strict=True):
        assert uid == other_uid
        assert (mine["drawn"] == theirs["drawn"]).all()


def test_workers_that_are_spawned_draw_the_same():
    data = combined([{"uid": "x"}], transform=drawing, preprocessor=kept)
    again = pickle.loads(pickle.dumps(data))
    assert (again[0][1]["drawn"] == data[0][1]["drawn"]).all()


def test_the_global_generators_go_on_as_if_nothing_had_been_read():
    data = combined([{"uid": "x"}], transform=drawing)
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    undisturbed = [draws() for _ in range(3)]
    np.random.seed(1), np.random.randn()  # leaves a second number in NumPy's cache
    cached = np.random.randn()
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    disturbed = []
    for _ in range(3):
        data[0], data.uids()
        disturbed.append(draws())
    assert disturbed == undisturbed
    np.random.seed(1), np.random.randn(), data[0]
    assert np.random.randn() == cached


def test_the_default_seed_gives_way_to_one_that_was_given():
    samples = [{"uid": "x"}]
    loader_seed = combined(samples, transform=drawing).with_default_seed(5)
    own_seed = combined(samples, transform=drawing, seed=5).with_default_seed(6)
    assert (loader_seed[0][1]["drawn"] == own_seed[0][1]["drawn"]).all()
    zero = combined(samples, transform=drawing)
    assert (zero[0][1]["drawn"] != own_seed[0][1]["drawn"]).all()


def test_files_are_gathered_from_the_parts(train_manifest, valid_manifest):
    train, valid = ManifestDataset(train_manifest), ManifestDataset(valid_manifest)
    assert combined(train, [{"n": 1}], valid).files() == train.files() + valid.files()


def test_an_error_names_the_audio_file_and_is_one_line(train_manifest):
    def torn(sample):
        raise ValueError("first\n  second")

    with pytest.raises(
        SampleError, match=r"spk1-004\.wav\): in the transform: ValueError: first second"
    ) as info:
        combined(ManifestDataset(train_manifest), transform=torn)[4]
    assert "ValueError: first" in info.value.trace and "torn" in info.value.trace


def raising(sample):
    raise ValueError("too loud")


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (
            combined([3]),
            SampleError,
            r"dataset.train\[0\] \('a'\), sample 0: the dataset's \[\] gave int, not",
        ),
        (combined([{"uid": 1.5}]), SampleError, r"\('a'\), sample 0: uid 1.5 is not a plain string"),
        (combined([{"uid": "a\nb"}]), SampleError, r"\('a'\), sample 0: uid 'a\\nb' is not a plain string"),
        (
            combined([{"uid": "x"}], transform=raising),
            SampleError,
            r"dataset.train\[0\] \('a'\), uid 'x': in the transform: ValueError: too loud",
        ),
        (combined([{}], preprocessor=raising), SampleError, r"uid 'a-0': in the preprocessor: ValueError"),
        (
            combined([{}], transform=lambda s: None),
            SampleError,
            r"uid 'a-0': the transform gave NoneType, not",
        ),
    ],
)
def test_what_fails_is_named_by_entry_and_uid(data, error, message):
    with pytest.raises(error, match=message) as info:
        data[0]
    if "ValueError" in message:
        assert isinstance(info.value.__cause__, ValueError)


def test_a_users_mistake_in_a_dataset_stays_one(tmp_path, train_manifest):
    data = combined(ManifestDataset(train_manifest, sample_rate=16000))
    message = (
        r"dataset.train\[0\] \('a'\), uid 'spk0-000': .*spk0-000.wav has 8000 Hz, but sample_rate is 16000"
    )
    with pytest.raises(UserError, match=message):
        data[0]


def test_a_users_mistake_stays_one_line_when_a_worker_finds_it(train_manifest):
    data = combined(ManifestDataset(train_manifest, sample_rate=16000))
    with pytest.raises(UserError, match=r"^dataset\.train\[0\] \('a'\), uid 'spk0-000': .* 16000$") as info:
        list(DataLoader(data, num_workers=1, collate_fn=list))
    assert "\n" not in str(info.value)
