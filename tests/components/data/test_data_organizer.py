"""The `dataset:` block becomes datasets, and what is wrong in it is named by list and position."""

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from espnet3.components.data.data_organizer import DataOrganizer, build_organizer
from espnet3.errors import UserError

ORGANIZER = "espnet3.components.data.data_organizer.DataOrganizer"
MANIFEST = "espnet3.components.data.manifest.ManifestDataset"


def block(manifest, **entry):
    node = {"name": "mini", "dataset": {"_target_": MANIFEST, "path": str(manifest)}, **entry}
    return OmegaConf.create({"dataset": {"_target_": ORGANIZER, "train": [node]}}).dataset


@pytest.mark.parametrize("make", [instantiate, build_organizer])
def test_a_block_of_the_configuration_becomes_datasets(train_manifest, make):
    organizer = make(block(train_manifest, transform=None))
    assert isinstance(organizer, DataOrganizer)
    assert len(organizer.train) == 23
    assert organizer.train[0][0] == "spk0-000"
    assert organizer.train.files()[0] == train_manifest


def test_lists_that_are_absent_are_empty():
    organizer = DataOrganizer(test=[{"name": "a", "dataset": [{"n": 1}]}])
    assert (len(organizer.train), len(organizer.valid), len(organizer.test)) == (0, 0, 1)
    assert organizer.train.files() == []


def test_the_preprocessor_is_applied_in_every_list():
    entry = [{"name": "a", "dataset": [{"n": 1}]}]
    organizer = DataOrganizer(entry, entry, entry, preprocessor=lambda sample: {"n": sample["n"] + 1})
    assert organizer.train[0] == organizer.valid[0] == organizer.test[0] == ("a-0", {"n": 2})


GOOD = {"name": "a", "dataset": [{"n": 1}]}


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (GOOD, r"dataset.train is a dict; it must be a list"),
        ("a", r"dataset.train is a str; it must be a list"),
        ([GOOD, 3], r"dataset.train\[1\] is a int; it must be \{name, dataset, transform\}"),
        ([{"dataset": [1]}], r"dataset.train\[0\]: `name` must be a string, given: None"),
        ([GOOD, {"name": "b"}], r"dataset.train\[1\] \('b'\): `dataset` is missing"),
        (
            [{**GOOD, "transfrom": None}],
            r"dataset.train\[0\]: unknown key 'transfrom'; did you mean transform\?",
        ),
        ([{**GOOD, "xyz": None}], r"unknown key 'xyz'; known are name, dataset, transform"),
        (
            [GOOD, GOOD],
            r"dataset.train\[1\] \('a'\): the name is already used by dataset.train\[0\] \('a'\)",
        ),
        (
            [{**GOOD, "transform": 3}],
            r"dataset.train\[0\] \('a'\): `transform` is a int and cannot be called",
        ),
        ([{**GOOD, "dataset": {"path": "x"}}], r"\('a'\): `dataset` is a dict; .*is its _target_ missing\?"),
        ([{**GOOD, "dataset": 3}], r"\('a'\): `dataset` is a int; it must have __len__ and \[\]"),
    ],
)
def test_an_entry_of_another_shape_is_named(entries, message):
    with pytest.raises(UserError, match=message):
        DataOrganizer(train=entries)


def test_a_preprocessor_that_cannot_be_called_is_refused():
    with pytest.raises(UserError, match=r"dataset\.preprocessor: int cannot be called"):
        DataOrganizer(preprocessor=3)


def test_a_users_mistake_inside_the_block_is_told_as_one_line_with_its_key(tmp_path):
    with pytest.raises(
        UserError, match=r"^dataset\.train\[0\]\.dataset: no manifest at .*gone \(stage 0"
    ) as info:
        build_organizer(block(tmp_path / "gone"))
    assert "\n" not in str(info.value)
    with pytest.raises(UserError, match=r"^dataset\.train\[0\]: unknown key 'nmae'"):
        build_organizer(OmegaConf.create({"_target_": ORGANIZER, "train": [{"nmae": "a"}]}))


def test_a_block_that_makes_something_else_is_refused():
    with pytest.raises(UserError, match=r"dataset\._target_ makes a Counter"):
        build_organizer(OmegaConf.create({"_target_": "collections.Counter"}))


def espnet_preprocessor(uid: str, data: dict) -> dict:
    assert "uid" not in data
    return {"n": data["n"] + 1, "of": uid}


def test_espnets_preprocessors_and_transforms_get_uid_and_data():
    entry = {"name": "a", "dataset": [{"n": 1, "uid": "x"}]}
    assert DataOrganizer([entry], preprocessor=espnet_preprocessor).train[0] == ("x", {"n": 2, "of": "x"})
    with_both = {**entry, "transform": espnet_preprocessor}
    made = DataOrganizer([with_both], preprocessor=lambda sample: {**sample, "more": 1})
    assert made.train[0] == ("x", {"n": 2, "of": "x", "more": 1})


class Keyed:
    """Samples by uid, as ESPnet's datasets have them."""

    samples = {"b": {"n": 1}, "a": {"n": 2}}

    def keys(self):
        return self.samples.keys()

    def __len__(self):
        return 2

    def __getitem__(self, uid):
        return self.samples[uid]


def test_a_dataset_whose_keys_are_uids_is_read_by_position_and_by_uid():
    data = DataOrganizer([{"name": "k", "dataset": Keyed()}, {"name": "l", "dataset": [{"n": 3}]}]).train
    assert [data[index] for index in range(3)] == [("b", {"n": 1}), ("a", {"n": 2}), ("l-0", {"n": 3})]
    assert data["a"] == ("a", {"n": 2})
    assert data.uids() == ["b", "a", "l-0"]
    with pytest.raises(KeyError, match="c"):
        data["c"]
