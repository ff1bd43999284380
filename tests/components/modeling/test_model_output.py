import pytest
import torch

from espnet3.components.modeling.metrics.ratio import Ratio
from espnet3.components.modeling.model_output import read_batch, read_output
from espnet3.components.modeling.optimization_spec import OptimizationStep

LOSS = torch.tensor(1.5, requires_grad=True)


def test_a_batch_is_uids_and_data():
    uids, data = read_batch((["a", "b"], {"x": 1}))
    assert uids == ["a", "b"] and data == {"x": 1}


@pytest.mark.parametrize("batch", [{"x": 1}, ["a"], (["a"], torch.zeros(2)), None])
def test_a_batch_of_another_shape_is_refused_and_told(batch):
    with pytest.raises(AssertionError, match=r"must be \(uids, dict of data\), given: "):
        read_batch(batch)


def test_stats_that_are_none_are_left_out_and_the_weight_is_by_default_the_number_of_utterances():
    output = read_output((LOSS, {"loss": LOSS, "acc": None, "n": 3}, None), utterances=4)
    assert output.loss is not None and output.loss.requires_grad
    assert list(output.stats) == ["loss", "n"]
    assert not output.stats["loss"].requires_grad
    assert output.stats["n"].item() == 3.0
    assert output.weight == 4.0


def test_stats_and_weight_stay_tensors():
    weight = torch.tensor(7)
    output = read_output((LOSS, {"hits": torch.tensor([3])}, weight), utterances=4)
    assert output.stats["hits"].dtype == torch.float32 and output.stats["hits"].shape == ()
    assert isinstance(output.weight, torch.Tensor)


def test_both_parts_of_a_ratio_become_scalar_tensors_without_graph():
    wer = read_output((LOSS, {"wer": Ratio(LOSS, 7)}, None), utterances=4).stats["wer"]
    assert isinstance(wer, Ratio) and isinstance(wer.numerator, torch.Tensor)
    assert not wer.numerator.requires_grad and float(wer.denominator) == 7.0


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (LOSS, "must return"),
        ((LOSS, {}), r"given: tuple of 2"),
        ((LOSS, [("loss", 1)], None), "stats must be a dict, given: list"),
        ((LOSS, None, None), "stats must be a dict, given: NoneType"),
        ((torch.zeros(3), {}, None), r"scalar tensor of floating point, given: Tensor of shape \(3,\)"),
        ((torch.tensor(1), {}, None), "int64"),
        ((1.5, {}, None), "given: float 1.5"),
        ((OptimizationStep(LOSS, "gen"), {}, None), "OptimizationStep.*single.*name='gen'"),
        (([OptimizationStep(LOSS, "gen")], {}, None), "OptimizationStep"),
        ((LOSS, {"curve": torch.zeros(2)}, None), r"stats\['curve'\] must be a scalar"),
        ((LOSS, {"wer": Ratio(torch.zeros(2), 3)}, None), r"stats\['wer'\]\.numerator must be .*\(2,\)"),
        ((LOSS, {"wer": Ratio(1, None)}, None), r"stats\['wer'\]\.denominator must be .*NoneType"),
        ((LOSS, {"note": "fine"}, None), r"stats\['note'\].*str 'fine'"),
        ((LOSS, {}, "many"), "weight must be a scalar or None"),
        ((LOSS, {}, torch.zeros(2)), "weight must be a scalar or None"),
    ],
)
def test_what_breaks_the_contract_is_refused_with_what_was_given(output, message):
    with pytest.raises(AssertionError, match=message):
        read_output(output, utterances=1)


def test_an_optimization_step_is_a_loss_and_a_name():
    step = OptimizationStep(loss=LOSS, name="generator")
    assert step.loss is LOSS and step.name == "generator"


@pytest.mark.parametrize(("loss", "name"), [(LOSS, ""), (LOSS, None), (1.0, "g"), (torch.zeros(2), "g")])
def test_an_optimization_step_of_anything_else_is_refused(loss, name):
    with pytest.raises(AssertionError, match="OptimizationStep"):
        OptimizationStep(loss=loss, name=name)


@pytest.mark.parametrize(
    ("stats", "said"),
    [
        ({"skipped_batches": 1}, r"stats\['skipped_batches'\] is logged by the training itself"),
        ({"nonfinite_gradients": 1}, r"stats\['nonfinite_gradients'\] is logged by the training itself"),
        (
            {"loss_epoch": 1, "loss": 2},
            r"stats\['loss_epoch'\] is the mean of stats\['loss'\] over the epoch",
        ),
    ],
)
def test_a_statistic_under_a_name_that_is_logged_otherwise_is_refused(stats, said):
    with pytest.raises(AssertionError, match=said):
        read_output((LOSS, stats, None), utterances=1)
    read_output((LOSS, {"loss_epoch": 1, "last_epoch": 2, "loss_step": 3}, None), utterances=1)
