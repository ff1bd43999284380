"""Batches are padded with their lengths, and what does not go together is named."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from espnet3.components.data.loading.collate import CommonCollateFn
from espnet3.errors import UserError

lengths = st.lists(st.integers(0, 9), min_size=1, max_size=5)


def collate(*values, key="x", **options):
    return CommonCollateFn(**options)([(f"utt{i}", {key: value}) for i, value in enumerate(values)])


@given(lengths, st.sampled_from([np.float32, np.float64, np.int64, np.int16, np.bool_]), st.booleans())
def test_every_value_is_found_again_and_the_rest_is_padding(lengths, dtype, as_tensor):
    values = [(np.arange(3 * n) % 2).reshape(n, 3).astype(dtype) for n in lengths]
    given = [torch.from_numpy(value) for value in values] if as_tensor else values
    uids, batch = collate(*given, int_pad_value=-1, float_pad_value=0.5)
    assert uids == [f"utt{i}" for i in range(len(lengths))]
    assert batch["x_lengths"].tolist() == lengths
    assert batch["x_lengths"].dtype == torch.int64
    assert batch["x"].shape == (len(lengths), max(lengths), 3)
    assert batch["x"].dtype == torch.from_numpy(values[0]).dtype
    fill = {"f": 0.5, "i": -1, "b": False}[np.dtype(dtype).kind]
    for row, value in zip(batch["x"].numpy(), values, strict=True):
        assert (row[: len(value)] == value).all()
        assert (row[len(value) :] == fill).all()


def test_integers_are_filled_up_with_minus_one_by_default():
    _, batch = collate([1, 2, 3], [4])
    assert batch["x"].tolist() == [[1, 2, 3], [4, -1, -1]]


def test_numbers_are_stacked_without_lengths():
    for values, dtype in (((1, 2), torch.int64), ((0.5, 2.0), torch.float32), ((True, False), torch.bool)):
        _, batch = collate(*values)
        assert batch.keys() == {"x"}
        assert batch["x"].tolist() == list(values)
        assert batch["x"].dtype == dtype


def test_strings_and_other_objects_stay_lists():
    _, batch = collate("one", "two")
    assert batch == {"x": ["one", "two"]}
    assert collate(["a", "b"], ["c"])[1] == {"x": [["a", "b"], ["c"]]}
    assert collate(None, None)[1] == {"x": [None, None]}


def test_an_empty_list_takes_the_type_of_the_others():
    _, batch = collate([], [1, 2])
    assert batch["x"].tolist() == [[-1, -1], [1, 2]]
    assert batch["x_lengths"].tolist() == [0, 2]


def test_views_that_torch_cannot_share_are_copied():
    backwards = np.arange(5.0)[::-1]
    frozen = np.arange(3.0)
    frozen.flags.writeable = False
    _, batch = collate(backwards, frozen)
    assert batch["x"].tolist() == [[4, 3, 2, 1, 0], [0, 1, 2, 0, 0]]


def test_unsigned_integers_can_be_padded_with_negative_ones():
    _, batch = collate(np.array([200, 1], np.uint8), np.array([3], np.uint8))
    assert batch["x"].tolist() == [[200, 1], [3, -1]]


def test_keys_that_are_no_sequence_are_stacked():
    _, batch = collate(np.zeros(4), np.ones(4), key="speaker", not_sequence=["speaker"])
    assert batch.keys() == {"speaker"}
    assert batch["speaker"].shape == (2, 4)
    with pytest.raises(UserError, match=r"uid 'utt1', key 'speaker': shape \(5,\) does not match \(4,\)"):
        collate(np.zeros(4), np.ones(5), key="speaker", not_sequence=["speaker"])


def test_a_key_that_a_sample_lacks_is_named_with_its_uid():
    collate_fn = CommonCollateFn()
    with pytest.raises(UserError, match="uid 'b' has no key 'text', but uid 'a'"):
        collate_fn([("a", {"text": [1]}), ("b", {})])
    with pytest.raises(UserError, match="uid 'a' has no key 'text', but uid 'b'"):
        collate_fn([("a", {}), ("b", {"text": [1]})])


def test_what_does_not_go_together_is_named():
    with pytest.raises(UserError, match=r"uid 'utt1', key 'x': shape \(2, 4\) does not match \(2, 3\)"):
        collate(np.zeros((2, 3)), np.zeros((2, 4)))
    with pytest.raises(UserError, match=r"uid 'utt1', key 'x': shape \(\) does not match \(2,\)"):
        collate([1, 2], 3)
    with pytest.raises(
        UserError, match=r"key 'x' is torch.float64 in uid 'utt0' and torch.int64 in uid 'utt1'"
    ):
        collate(np.zeros(2), np.zeros(2, int))
    with pytest.raises(UserError, match="uid 'utt1', key 'x': str, but numbers in uid 'utt0'"):
        collate(1, "one")
    with pytest.raises(UserError, match="uid 'utt0': key 'x_lengths'"):
        collate(1, 2, key="x_lengths")
