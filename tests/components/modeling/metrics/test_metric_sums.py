import pytest
import torch

from espnet3.components.modeling.metrics.metric_sums import MetricSums

CPU = torch.device("cpu")


def scalars(**stats):
    return {key: torch.tensor(value) for key, value in stats.items()}


def means(sums):
    return {key: value.item() for key, value in sums.means(CPU, 1).items()}


def test_means_are_weighted_and_keys_may_differ_between_batches():
    sums = MetricSums()
    sums.add(scalars(loss=1.0, acc=0.5), 1)
    sums.add(scalars(loss=4.0), torch.tensor(3))
    assert means(sums) == {"acc": 0.5, "loss": 3.25}


def test_a_batch_that_is_not_accepted_leaves_no_trace_whatever_it_holds():
    sums = MetricSums()
    sums.add(scalars(loss=2.0), 1, accepted=torch.tensor(True))
    sums.add(scalars(loss=float("nan")), 5, accepted=torch.tensor(False))
    assert means(sums) == {"loss": 2.0}


def test_a_key_whose_weights_are_zero_has_no_mean():
    sums = MetricSums()
    sums.add(scalars(loss=2.0), 0)
    assert means(sums) == {}


def test_a_million_small_values_keep_their_sum():
    sums = MetricSums()
    sums.add(scalars(loss=1e8), 1)
    for _ in range(1000):
        sums.add(scalars(loss=1.0), 1)
    assert means(sums)["loss"] == pytest.approx((1e8 + 1000) / 1001, rel=1e-12)


def test_the_state_goes_on_where_it_was_and_is_plain_data(tmp_path):
    sums = MetricSums()
    sums.add(scalars(loss=1.0), 1)
    torch.save(sums.state_dict(), tmp_path / "state")
    again = MetricSums()
    again.load_state_dict(torch.load(tmp_path / "state", weights_only=True))
    again.add(scalars(loss=3.0), 1)
    assert means(again) == {"loss": 2.0}
    assert means(sums) == {"loss": 1.0}
