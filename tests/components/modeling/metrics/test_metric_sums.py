import pytest
import torch

from espnet3.components.modeling.metrics.metric_sums import MetricSums
from espnet3.components.modeling.metrics.ratio import Ratio, batch_values

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


def test_ratios_are_added_and_divided_once_whatever_the_batches_weigh():
    sums = MetricSums()
    sums.add({**scalars(loss=1.0), "wer": Ratio(torch.tensor(1.0), torch.tensor(2.0))}, 9)
    sums.add({"wer": Ratio(0, 98)}, torch.tensor(1.0))
    assert means(sums) == {"loss": 1.0, "wer": 0.01}


def test_a_ratio_whose_denominators_are_zero_is_left_out_and_an_empty_batch_changes_none():
    sums = MetricSums()
    sums.add({"wer": Ratio(1, 4), "cer": Ratio(0, 0)}, 1)
    sums.add({"wer": Ratio(0, 0), "cer": Ratio(0, 0)}, 1)
    assert means(sums) == {"wer": 0.25}


def test_a_ratio_of_a_batch_that_is_not_accepted_is_left_out():
    sums = MetricSums()
    sums.add({"wer": Ratio(1.0, 4.0)}, 1, accepted=torch.tensor(True))
    sums.add({"wer": Ratio(torch.tensor(float("nan")), 4.0)}, 1, accepted=torch.tensor(False))
    assert means(sums) == {"wer": 0.25}


def test_a_key_that_is_a_ratio_and_a_scalar_is_refused():
    sums = MetricSums()
    sums.add({"wer": Ratio(1.0, 4.0)}, 1)
    sums.add(scalars(wer=0.0), 1)
    with pytest.raises(AssertionError, match=r"'wer'\] is a Ratio in some batches and a scalar in"):
        sums.means(CPU, 1)


def test_ratios_go_on_from_a_state_and_those_of_ranks_are_added(tmp_path):
    sums = MetricSums()
    sums.add({**scalars(loss=2.0), "wer": Ratio(1, 3)}, 1)
    torch.save(sums.state_dict(), tmp_path / "state")
    state = torch.load(tmp_path / "state", weights_only=True)
    again = MetricSums()
    again.load_state_dict(state)
    again.add({**scalars(loss=4.0), "wer": Ratio(2, 1)}, 1)
    assert means(again) == {"loss": 3.0, "wer": 0.75}
    of_two = MetricSums()
    of_two.load_state_dict(MetricSums.added([state, again.state_dict()]))
    assert means(of_two) == {"loss": pytest.approx(8 / 3), "wer": 4 / 7}
    assert means(sums) == {"loss": 2.0, "wer": 1 / 3}


def test_a_batch_on_a_device_costs_as_many_operations_with_two_ratios_as_with_twenty():
    class Counting(torch.utils._python_dispatch.TorchDispatchMode):
        calls = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            self.calls += 1
            return func(*args, **(kwargs or {}))

    def calls(count):
        stats = {
            str(key): Ratio(*torch.ones(2, dtype=torch.float64, device="meta").unbind())
            for key in range(count)
        }
        sums = MetricSums()
        with Counting() as counting:
            sums.add(stats, 1.0)
        return counting.calls

    assert calls(20) == calls(2)


def test_a_ratio_is_shown_for_a_batch_as_its_quotient():
    values = batch_values({"wer": Ratio(torch.tensor(1.0), 4), "none": Ratio(0, 0), **scalars(loss=2.0)})
    assert values["wer"] == 0.25 and values["none"].isnan() and values["loss"] == 2.0
