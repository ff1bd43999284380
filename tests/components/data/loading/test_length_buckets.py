"""Buckets follow the shape files, which must be those of the data."""

import pytest

from espnet3.components.data.loading.length_buckets import LengthBuckets
from espnet3.components.data.shape_files import write_shape_file
from espnet3.errors import UserError


@pytest.fixture
def shape_files(tmp_path):
    write_shape_file(tmp_path / "feats_shape", {"a": (30, 4), "b": (10, 4), "c": (20, 4), "d": (11, 4)})
    write_shape_file(tmp_path / "text_shape", {"d": (1,), "c": (2,), "b": (3,), "a": (4,)})
    return [tmp_path / "feats_shape", tmp_path / "text_shape"]


def test_similar_lengths_are_together(shape_files):
    assert LengthBuckets(shape_files, batch_size=2)(["a", "b", "c", "d"]) == [(1, 3), (2, 0)]


def test_bins_count_all_axes_and_files(shape_files):
    uids = ["a", "b", "c", "d"]
    assert LengthBuckets(shape_files, batch_bins=2 * (44 + 3))(uids) == [(1, 3), (2,), (0,)]
    assert LengthBuckets(shape_files, batch_bins=2 * (44 + 3) - 1)(uids) == [(1,), (3,), (2,), (0,)]
    assert LengthBuckets(str(shape_files[0]), batch_bins=2 * 44)(uids) == [(1, 3), (2,), (0,)]


def test_a_uid_on_one_side_only_is_named_with_the_file(shape_files):
    buckets = LengthBuckets(shape_files, batch_size=2)
    with pytest.raises(UserError, match=r"feats_shape has no uid 'e', which is in the data: .* run stage 1"):
        buckets(["a", "b", "c", "d", "e"])
    with pytest.raises(UserError, match=r"feats_shape has uid 'd', which is not in the data: .* run stage 1"):
        buckets(["a", "b", "c"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 2, "shape_files": []}, "shape_files is empty"),
        ({"shape_files": ["x"]}, "one of batch_size and batch_bins must be given"),
        ({"shape_files": ["x"], "batch_bins": 0}, "batch_bins must be at least 1, given: 0"),
    ],
)
def test_options_that_make_no_batches_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        LengthBuckets(**options)
