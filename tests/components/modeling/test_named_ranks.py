"""The LightningModule with named optimizers under a real Trainer, on two ranks."""

import pytest
import torch

import named_runs as runs
from training_runs import same

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def two(tmp_path_factory, answers_of_ranks):
    return answers_of_ranks(runs.__file__, tmp_path_factory.mktemp("named"), 2)


@pytest.mark.parametrize(("precision", "tolerance"), [("32-true", 1e-5), ("bf16-mixed", 2e-2)])
def test_two_ranks_equal_one_on_the_union_batch(two, tmp_path, precision, tolerance):
    batches = runs.equal_weights(0, 1)
    module, trainer = runs.train(batches, tmp_path, runs.OPTIONS, model=runs.Normless(), precision=precision)
    assert same(two[0][precision]["weights"], two[1][precision]["weights"])
    for key, value in module.state_dict().items():
        torch.testing.assert_close(two[0][precision]["weights"][key], value, rtol=tolerance, atol=tolerance)
    assert two[0][precision]["global_step"] == trainer.global_step == len(batches)
    for key in ("train/generator/loss", "train/discriminator/loss", "train/generator/update_step"):
        assert two[1][precision]["metrics"][key] == pytest.approx(
            float(trainer.callback_metrics[key]), abs=tolerance
        )


def test_lightnings_own_ddp_gives_the_same(two):
    assert same(two[0]["lightning's ddp"]["weights"], two[0]["32-true"]["weights"])


def test_nan_on_one_rank_skips_the_batch_on_both(two):
    for answer in two:
        bad, without = answer["skipping"]["bad"], answer["skipping"]["without"]
        assert same(bad[1], bad[2])
        assert same(bad[3], without[2])


def test_ranks_that_name_another_order_end_on_both_before_any_backward_pass(two):
    for answer in two:
        assert answer["different"]["batches"] == 1
        assert (
            "rank 0: [generator, discriminator]; rank 1: [discriminator, generator]"
            in answer["different"]["error"]
        )
        assert same(answer["different"]["before"], answer["different"]["after"])
        assert answer["different"]["gradients"] == []


def test_a_batch_costs_one_collective_and_an_update_its_gradients_besides(two):
    # The discriminator updates in every batch, the generator in every second; each has one bucket.
    for answer in two:
        assert [batch["all_reduce"] for batch in answer["collectives"]] == [2, 3, 2, 3]
        assert all(set(batch) == {"all_reduce"} for batch in answer["collectives"])


def test_sparse_gradients_are_summed_over_ranks_as_those_of_one(two, tmp_path):
    configuration = runs.config({"accum_grad_steps": 2, "optimizer": runs.SGD})
    module, _ = runs.train(runs.equal_weights(0, 1), tmp_path, configuration, model=runs.Sparse())
    one, other = (answer["sparse"]["weights"] for answer in two)
    assert same(one, other)
    for key, value in module.state_dict().items():
        torch.testing.assert_close(one[key], value, rtol=1e-5, atol=1e-5)
    assert not same(one["generator.table"], torch.ones(8, 4))


def test_an_optimizer_for_sparse_gradients_alone_is_refused_on_all_ranks(two):
    for answer in two:
        assert answer["sparse adam"].startswith("optimizers.generator.optimizer: SparseAdam takes sparse")


def test_a_group_that_is_added_midway_is_summed_over_ranks_too(two, tmp_path):
    module, _ = runs.train(
        runs.equal_weights(0, 1), tmp_path, runs.OPTIONS, model=runs.Frozen(), callbacks=[runs.Added()]
    )
    one, other = (answer["added"]["weights"] for answer in two)
    assert same(one, other)
    for key, value in module.state_dict().items():
        torch.testing.assert_close(one[key], value, rtol=1e-5, atol=1e-5)
    assert not same(one["generator.0.weight"], runs.Frozen().generator[0].weight.data)


def test_hooks_see_gradients_that_are_reduced_over_ranks(two):
    """Those of the discriminator, which updates in each batch that has a backward pass of it."""
    assert two[0]["added"]["hooks"] == two[1]["added"]["hooks"] != []
