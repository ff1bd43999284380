"""Mean and standard deviation follow from the sums, and a file that has none is named."""

import numpy as np
import pytest

from espnet3.components.data.feature_stats import FeatureStats, load_stats
from espnet3.errors import UserError


def test_mean_and_deviation_are_those_of_all_frames(tmp_path):
    t = np.arange(300)[:, None]
    frames = np.sin(t * [0.1, 0.37]) * [1.0, 100.0] + [5.0, -80.0]
    stats = FeatureStats()
    for part in np.split(frames, [17, 18, 200]):
        stats.add(part.astype(np.float32))
    stats.write(tmp_path / "feats_stats.npz")
    mean, std = load_stats(tmp_path / "feats_stats.npz")
    exact = frames.astype(np.float32).astype(np.float64)
    np.testing.assert_allclose(mean, exact.mean(0), rtol=1e-12)
    np.testing.assert_allclose(std, exact.std(0), rtol=1e-11)  # summed in float32: 1e-7


def test_a_constant_feature_has_deviation_one(tmp_path):
    stats = FeatureStats()
    stats.add(np.full((1000, 2), [0.0, -13.8155]))
    stats.write(tmp_path / "feats_stats.npz")
    assert load_stats(tmp_path / "feats_stats.npz")[1].tolist() == [1.0, 1.0]


def test_a_file_without_statistics_is_named(tmp_path):
    path = tmp_path / "feats_stats.npz"
    with pytest.raises(UserError, match=r"no statistics at .*feats_stats\.npz; stage 1"):
        load_stats(path)
    path.write_text("nothing")
    with pytest.raises(UserError, match=r"feats_stats\.npz is not a file of collect_stats"):
        load_stats(path)
    np.savez(path, count=1)
    with pytest.raises(UserError, match=r"feats_stats\.npz is not a file of collect_stats"):
        load_stats(path)
    FeatureStats().write(path)
    with pytest.raises(UserError, match="counts no frames"):
        load_stats(path)


ARRAYS = {"count": 2, "sum": np.ones(4), "sum_square": np.ones(4)}


@pytest.mark.parametrize(
    "wrong",
    [
        {"sum": np.ones(3)},
        {"sum": np.full(4, np.nan)},
        {"sum_square": np.full(4, np.inf)},
        {"sum": np.full(4, 1e300), "sum_square": np.full(4, 1e300)},
        {"count": "text"},
        {"count": np.ones(2)},
        {"sum": np.array([None] * 4)},
    ],
)
def test_arrays_that_are_no_statistics_are_refused_in_one_line(wrong, tmp_path):
    path = tmp_path / "feats_stats.npz"
    np.savez(path, **{**ARRAYS, **wrong})
    with pytest.raises(
        UserError, match=r"^.*feats_stats\.npz (is not a file|has sums).*; run stage 1 .* again, .*--force.*$"
    ):
        load_stats(path)


def test_a_damaged_file_is_refused_in_one_line(tmp_path):
    path = tmp_path / "feats_stats.npz"
    np.savez(path, **ARRAYS)
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[whole.index(np.ones(4).tobytes())] ^= 1
    for content in (
        b"",
        whole[:100],
        whole[:-10],
        bytes(flipped),
        b"PK\x03\x04" + whole[60:],
        whole[:40] + whole[44:],
    ):
        path.write_bytes(content)
        with pytest.raises(
            UserError,
            match=r"^.*feats_stats\.npz (is not a file|has sums).*; run stage 1 .* again, .*--force.*$",
        ):
            load_stats(path)


def test_the_same_statistics_written_again_are_the_same_file(tmp_path):
    path, stats = tmp_path / "feats_stats.npz", FeatureStats()
    stats.add(np.ones((3, 2)))
    stats.write(path)
    before = path.stat()
    stats.write(path)
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    stats.add(np.ones((3, 2)))
    stats.write(path)
    assert path.stat().st_ino != before.st_ino and list(tmp_path.iterdir()) == [path]
