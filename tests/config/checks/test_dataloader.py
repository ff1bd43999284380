"""The `dataloader:` block is checked as plain data, and the message names what would be right."""

import pytest

from espnet3.config.checks.dataloader import check_dataloader_config
from espnet3.errors import UserError

BUCKETS = "espnet3.components.data.loading.length_buckets.LengthBuckets"


@pytest.mark.parametrize("alone", ["train", "valid"])
def test_train_and_valid_must_be_of_one_kind(alone):
    blocks = {"train": {"batch_size": 1}, "valid": {"batch_size": 1}}
    blocks[alone] = {"iter_factory": {"_target_": BUCKETS}}
    message = f"Train and valid should have the same type of dataloader.*{alone} only"
    with pytest.raises(AssertionError, match=message):
        check_dataloader_config(blocks)
    check_dataloader_config({"train": {"iter_factory": None}, "valid": {}})


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"trian": {}}, r"^dataloader\.trian: no such option; did you mean dataloader\.train\?"),
        (
            {"train": {"num_worker": 1}},
            r"train\.num_worker: no such option; did you mean dataloader\.train\.num_w",
        ),
        (
            {"train": {"xyz": 1}},
            r"dataloader\.train\.xyz: no such option; known are iter_factory, batch_size",
        ),
        ({"train": {"sampler": 1}}, r"train\.sampler cannot be given: the order of the data is planned"),
        ({"valid": {"batch_sampler": 1}}, r"valid\.batch_sampler cannot be given: batches are planned"),
        ({"train": {"collate_fn": 1}}, r"train\.collate_fn cannot be given: .*dataloader\.collate_fn"),
        ({"train": {"batch_size": 0}}, r"train\.batch_size must be an integer of at least 1, given: 0"),
        ({"train": {"batch_size": None}}, r"train\.batch_size must be an integer of at least 1, given: None"),
        ({"train": {"num_workers": -1}}, r"train\.num_workers must be an integer of at least 0, given: -1"),
        ({"train": 3}, r"dataloader\.train must hold options, given: 3"),
        ({"valid": {"shuffle": True}}, r"valid\.shuffle: validation is never shuffled"),
        ({"valid": {"drop_last": True}}, r"valid\.drop_last: each utterance of validation counts once"),
        (
            {"train": {"iter_factory": {"_target_": "x"}, "batch_size": 2}},
            r"train\.batch_size has no meaning beside iter_factory",
        ),
    ],
)
def test_a_wrong_option_is_named(block, message):
    with pytest.raises(UserError, match=message):
        check_dataloader_config(block)
