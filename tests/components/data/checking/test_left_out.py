"""What can't be used is left out, the same everywhere; the rest stays what it was."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf

from espnet3.components.data.checking.left_out import build_usable, left_out_path, write_left_out
from espnet3.components.data.combined_dataset import CombinedDataset, DatasetEntry
from espnet3.components.data.loading.dataloader_builder import DataLoaderBuilder
from espnet3.errors import UserError
from tests.components.data.conftest import write_corpus


def noisy(sample: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    return {**sample, "noise": rng.random()}


class Numbers:
    """Samples without a uid, or with one."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"number": index}


def test_the_rest_keeps_its_uids_order_and_random_numbers(tmp_path: Path):
    whole = CombinedDataset([DatasetEntry(name, Numbers(3), noisy, name) for name in "ab"])
    rest = whole.without({"a": {1: "a-1"}, "b": {0: "b-0", 2: "b-2"}}, tmp_path / "list")
    assert (len(rest), rest.uids()) == (3, ["a-0", "a-2", "b-1"])
    drawn = dict(whole[(2, index)] for index in range(6))
    assert [rest[(2, index)] for index in range(3)] == [(uid, drawn[uid]) for uid in rest.uids()]
    assert (rest[-1][0], len(whole)) == ("b-1", 6)
    assert rest.with_default_seed(3).uids() == rest.uids()
    assert rest.files() == [tmp_path / "list"]
    with pytest.raises(IndexError):
        rest[3]


def test_a_list_of_other_data_is_refused(tmp_path: Path):
    whole = CombinedDataset([DatasetEntry("a", Numbers(3), None, "a")])
    with pytest.raises(UserError, match="lists other data than a has"):
        whole.without({"a": {3: "a-3"}}, tmp_path)


@pytest.fixture
def config(tmp_path: Path) -> Any:
    manifest = write_corpus(tmp_path / "data" / "train", 9)
    dataset = {"_target_": "espnet3.components.data.manifest.ManifestDataset", "path": str(manifest)}
    return OmegaConf.create(
        {
            "recipe_dir": str(tmp_path),
            "data_dir": str(tmp_path / "data"),
            "dataset": {
                "_target_": "espnet3.components.data.data_organizer.DataOrganizer",
                "on_bad": "skip",
                "train": [{"name": "train", "dataset": dataset}],
            },
        }
    )


def test_batches_of_all_ranks_hold_each_usable_utterance_once(config: Any, tmp_path: Path):
    manifest = tmp_path / "data" / "train" / "manifest.jsonl"
    manifest.write_text(manifest.read_text() + "broken\n")
    write_left_out(left_out_path(config, "train"), {"train": {2: "spk2-002", 5: "spk2-005"}})
    dealt = []
    for rank in (0, 1):
        organizer = build_usable(config)
        loader = DataLoaderBuilder(organizer, {"train": {"batch_size": 2}}, rank=rank, world_size=2)
        dealt += [uid for batch in loader.build("train").batch_sampler for uid in batch]
    uids = [organizer.train[key][0] for key in dealt]
    assert set(uids) == {f"spk{n % 3}-{n:03d}" for n in (0, 1, 3, 4, 6, 7, 8)}
    assert left_out_path(config, "train") in organizer.train.files()


def test_without_a_list_or_with_that_of_another_manifest_nothing_is_read(config: Any):
    with pytest.raises(UserError, match=r"on_bad=skip: .* does not say what to leave out"):
        build_usable(config)
    write_left_out(left_out_path(config, "train"), {"train": {2: "another"}})
    with pytest.raises(UserError, match="lists other data"):
        build_usable(config)


def test_an_unchanged_list_is_not_written_again(config: Any):
    path = left_out_path(config, "train")
    write_left_out(path, {"train": {2: "a"}})
    written = path.stat().st_mtime_ns
    write_left_out(path, {"train": {2: "a"}})
    assert path.stat().st_mtime_ns == written
    config.dataset.check = {"_target_": "x.Y"}
    assert left_out_path(config, "train") == path, "what is refused changes the list, not its name"
