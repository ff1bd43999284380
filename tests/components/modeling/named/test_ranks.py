"""On 2 and 4 gloo ranks: the weights of one rank on the union batch, and errors that all ranks raise."""

import pytest
import torch

import rank_scenarios as scenarios
from engine_cases import same

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=[2, 4])
def ranks(request, tmp_path_factory, answers_of_ranks):
    """The answers of every rank to every scenario."""
    return answers_of_ranks(scenarios.__file__, tmp_path_factory.mktemp("ranks"), request.param)


def test_weights_equal_one_rank_on_the_union_batch_and_are_identical_on_all_ranks(ranks):
    union = scenarios.train()
    for answer in ranks:
        for batch, (ours, own) in enumerate(
            zip(ranks[0]["train"]["weights"], answer["train"]["weights"], strict=True)
        ):
            for a, b, c in zip(ours, own, union["weights"][batch], strict=True):
                assert torch.equal(a, b), f"ranks differ after batch {batch}"
                torch.testing.assert_close(b, c, rtol=1e-5, atol=1e-6)


def test_who_is_not_named_is_bit_identical_after_the_batch_on_every_rank(ranks):
    for answer in ranks:
        states = answer["train"]["states"]
        assert any(state["generator"]["own"]["accum_counter"] for state in states), "also in between"
        for names, before, after in zip(scenarios.BATCHES[1:], states, states[1:], strict=False):
            for name in scenarios.NAMES:
                assert same(before[name], after[name]) is (name not in names)


def test_only_updates_send_and_only_their_optimizers_gradients(ranks):
    # With bucket_bytes=64 the discriminator has 2 buckets, the generator 4. Accumulation (generator, every
    # second) and iterations left out (discriminator, every second) send nothing.
    discriminator, generator = 2, 4
    per_batch = [0, generator, discriminator, 0, discriminator + generator, 0]
    assert [answer["train"]["sent"] for answer in ranks] == [per_batch] * len(ranks)


def test_gradients_travel_while_the_backward_pass_is_running(ranks):
    for answer in ranks:
        during, sizes = zip(*answer["overlap"], strict=True)
        assert during == (True, True)
        parameters = sum(parameter.numel() for parameter in scenarios.Gan().discriminator.parameters())
        assert parameters <= sum(sizes) < 2 * parameters, "the discriminator's, with padding"


def test_a_parameter_without_gradient_on_some_ranks_counts_as_zero_and_on_all_stays_without(ranks):
    expected = scenarios.union_with_rare_zero(len(ranks))
    for answer in ranks:
        told = answer["absent"]
        for a, b, c in zip(ranks[0]["absent"]["weights"], told["weights"], expected, strict=True):
            assert torch.equal(a, b)
            torch.testing.assert_close(b, c, rtol=1e-5, atol=1e-6)
        assert told["rare_has_state"] and told["never_moved"] and not told["never_has_state"]


def test_names_nan_and_flags_are_agreed_on_by_one_collective(ranks):
    for answer in ranks:
        flags = {"stop": 1, "due": 3 * (len(ranks) - 1)}
        expected = (["generator", "discriminator"], False, flags)
        assert answer["alike"] == {"told": expected, "collectives": 1}
        assert answer["nan on one"]["told"] == (["generator"], True, {})


def test_ranks_that_disagree_raise_on_all_ranks_with_every_list(ranks):
    others = "; ".join(f"rank {rank}: [generator, discriminator]" for rank in range(len(ranks) - 1))
    for answer in ranks:
        assert f"{others}; rank {len(ranks) - 1}: [generator]" in answer["other names"]["told"]
        assert f"{others}; rank {len(ranks) - 1}: [discriminator, generator]" in answer["other order"]["told"]


def test_a_mistake_on_one_rank_is_told_on_all(ranks):
    for answer in ranks:
        assert answer["wrong on one"]["told"].startswith(f"rank {len(ranks) - 1}: the list of Optim")


def test_a_loss_without_graph_on_some_ranks_counts_as_zero_and_on_all_is_an_error(ranks):
    for answer in ranks:
        assert answer["no graph on one"]["told"] == (["generator"], False, {})
        assert answer["no graph"]["told"].startswith("the loss of optimizer 'generator' has no graph")
