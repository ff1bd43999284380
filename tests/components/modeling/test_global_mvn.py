"""Features are normalized by the statistics of stage 1 or of the checkpoint, and never not at all."""

import numpy as np
import pytest
import torch

from espnet3.components.data.feature_stats import FeatureStats
from espnet3.components.modeling.global_mvn import GlobalMVN
from espnet3.errors import UserError


@pytest.fixture
def frames():
    t = np.arange(400)[:, None]
    return (np.sin(t * [0.1, 0.37, 0.05]) * [1.0, 30.0, 0.1] + [5.0, -80.0, 0.0]).astype(np.float32)


@pytest.fixture
def stats_file(tmp_path, frames):
    stats = FeatureStats()
    stats.add(frames)
    stats.write(tmp_path / "feats_stats.npz")
    return tmp_path / "feats_stats.npz"


def test_features_have_mean_0_and_variance_1(stats_file, frames):
    normalized = GlobalMVN(stats_file)(torch.from_numpy(frames)[None])[0].numpy()
    np.testing.assert_allclose(normalized.mean(0), np.zeros(3), atol=1e-4)
    np.testing.assert_allclose(normalized.std(0), np.ones(3), rtol=1e-4)


def test_mean_and_variance_can_be_left_alone(stats_file, frames):
    x = torch.from_numpy(frames)[None]
    mvn = GlobalMVN(stats_file)
    torch.testing.assert_close(GlobalMVN(stats_file, norm_vars=False)(x), x - mvn.mean)
    torch.testing.assert_close(GlobalMVN(stats_file, norm_means=False)(x), x / mvn.std)


def test_padding_becomes_zero(stats_file, frames):
    x = torch.from_numpy(np.stack([frames[:10], frames[10:20]]))
    out = GlobalMVN(stats_file)(x, torch.tensor([10, 4]))
    assert (out[1, 4:] == 0).all()
    assert (out[0] != 0).any(dim=1).all()
    assert (out[1, :4] != 0).any(dim=1).all()


def test_a_module_made_before_the_statistics_reads_them_when_they_are_there(stats_file, tmp_path, frames):
    mvn = GlobalMVN(tmp_path / "later.npz")
    x = torch.from_numpy(frames)[None]
    with pytest.raises(UserError, match=r"no statistics at .*later\.npz; stage 1"):
        mvn(x)
    stats_file.rename(tmp_path / "later.npz")
    torch.testing.assert_close(mvn(x), GlobalMVN(tmp_path / "later.npz")(x))


def test_a_checkpoint_brings_its_own_statistics_with_or_without_the_file(stats_file, tmp_path, frames):
    model = torch.nn.Sequential(GlobalMVN(stats_file), torch.nn.Linear(3, 1))
    without = torch.nn.Sequential(GlobalMVN(tmp_path / "gone.npz"), torch.nn.Linear(3, 1))
    without.load_state_dict(model.state_dict())
    x = torch.from_numpy(frames)[None]
    assert torch.equal(without(x), model(x))

    FeatureStats.write(_other(frames), stats_file)
    with_other = torch.nn.Sequential(GlobalMVN(stats_file), torch.nn.Linear(3, 1))
    with_other.load_state_dict(model.state_dict())
    assert torch.equal(with_other(x), model(x))


def test_statistics_of_another_number_of_features_are_refused(stats_file):
    with pytest.raises(UserError, match=r"feats_stats\.npz is for 3 features, but x is \(1, 5, 4\)"):
        GlobalMVN(stats_file)(torch.ones(1, 5, 4))
    wider = GlobalMVN(stats_file)
    with pytest.raises(RuntimeError, match="size mismatch for mean"):
        wider.load_state_dict({"mean": torch.zeros(4), "std": torch.ones(4)})


def test_a_half_precision_model_stays_one(stats_file, frames):
    x = torch.from_numpy(frames)[None].to(torch.bfloat16)
    assert GlobalMVN(stats_file)(x).dtype == torch.bfloat16


def _other(frames):
    stats = FeatureStats()
    stats.add(frames * 2 + 1)
    return stats
