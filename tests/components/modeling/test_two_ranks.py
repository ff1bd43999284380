import pytest

import training_ranks
import training_runs as runs

SKIPPED = 3

pytestmark = pytest.mark.slow


@pytest.fixture
def skipping(two_ranks):
    return [answer["skipping"] for answer in two_ranks]


@pytest.mark.parametrize("run", ["bad", "bad, accumulating", "bad, bf16"])
def test_a_batch_that_is_nan_on_one_rank_changes_nothing_on_any(skipping, run):
    for answer in skipping:
        before, after = answer[run][SKIPPED - 1], answer[run][SKIPPED]
        for part in before:
            assert runs.same(before[part], after[part]), part
        assert not runs.same(before["weights"], answer[run][-1]["weights"]), "training goes on"


def test_the_first_batch_of_an_accumulation_can_be_skipped_too(skipping):
    for answer in skipping:
        states = answer["bad first, accumulating"]
        assert runs.same(states[0]["gradients"], [None, None])
        assert not runs.same(states[1]["gradients"], [None, None])


@pytest.mark.parametrize("precision", ["", ", bf16"])
def test_the_weights_equal_those_of_a_run_without_the_batch(skipping, precision):
    for answer in skipping:
        bad, without = answer["bad" + precision][-1], answer["without" + precision][-1]
        for part in bad:
            assert runs.same(bad[part], without[part]), part


@pytest.mark.parametrize("run", ["bad", "bad, accumulating", "bad first, accumulating", "bad, bf16"])
def test_all_ranks_hold_the_same_weights_after_every_update(skipping, run):
    for one, other in zip(skipping[0][run], skipping[1][run], strict=True):
        assert runs.same(one["weights"], other["weights"])


def test_held_gradients_of_both_ranks_reach_the_next_update(skipping, tmp_path):
    """One rank that sees both ranks' batches as one gives the same weights."""
    import torch

    def union(index, bad=False):
        halves = [runs.data(2 * index + rank, bad=bad) for rank in range(2)]
        x, y = (torch.cat([half[1][key] for half in halves]) for key in ("x", "y"))
        return halves[0][0] + halves[1][0], {"x": x, "y": y}

    single = runs.traced(
        [union(index, bad=index == SKIPPED) for index in range(6)],
        tmp_path,
        config={"scheduler": runs.STEP_LR},
        accumulate_grad_batches=2,
    )
    for key, value in single[-1]["weights"].items():
        torch.testing.assert_close(skipping[0]["bad, accumulating"][-1]["weights"][key], value)


@pytest.mark.parametrize("path", ["single", "named"])
def test_gradients_that_are_nan_on_one_rank_make_no_update_on_any(two_ranks, path):
    for answer in two_ranks:
        before, after, last = answer["sick_on_one"][path]
        assert runs.same(before["weights"], after["weights"])
        assert runs.same(before["optimizer"], after["optimizer"])
        assert not runs.same(after["weights"], last["weights"]), "training goes on"
        assert runs.same(last["weights"], two_ranks[0]["sick_on_one"][path][-1]["weights"])


def test_too_many_skipped_in_a_row_end_the_training_on_all_ranks(two_ranks):
    for answer in two_ranks:
        assert "101 batches in a row" in answer["diverging"]["error"]
        assert answer["diverging"]["batches"] == 100


def test_metrics_are_means_and_ratios_over_the_utterances_of_all_ranks(two_ranks):
    for answer in two_ranks:
        metrics = answer["metrics"]
        # y sums to 1.5 and 3.0; rank 1 weighs 2, rank 0's only validation batch is NaN
        assert metrics["valid/size"] == pytest.approx(2.25)
        assert metrics["valid/here"] == pytest.approx(2.25)
        assert metrics["valid/skipped_batches"] == 1
        assert metrics["train/size"] == pytest.approx(2.25)
        assert metrics["train/rate"] == pytest.approx((1.5 + 3.0) * 2 / (2 * 1 + 2 * 4))
        assert metrics["valid/rate"] == pytest.approx((1.5 + 3.0) / (2 * 4))
        assert "valid/none" not in metrics
    assert two_ranks[0]["metrics"] == two_ranks[1]["metrics"]


def test_a_training_batch_costs_one_collective_besides_the_gradients(two_ranks):
    for answer in two_ranks:
        gradients = 6  # one bucket for each update
        assert answer["collectives"].pop("all_reduce") == 6 + gradients
        assert set(answer["collectives"].values()) == {0}


def test_ranks_stop_together_when_one_is_asked_to_and_continue_where_they_were(two_ranks):
    for answer in two_ranks:
        stopping = answer["stopping"]
        assert stopping["told"] == "saved after batch 3 of epoch 2"
        assert runs.same(stopping["continued"], stopping["undisturbed"])


def test_rank_0s_clock_decides_for_all_when_a_checkpoint_is_due(two_ranks):
    names = [f"epoch={step // 10}-batch={step % 10}-step={step}" for step in (3, 6, 9, 13, 16, 19)]
    names += ["epoch=1-step=10", "epoch=2-step=20"]
    for answer in two_ranks:
        assert answer["clocks"] == sorted(f"{name}.ckpt" for name in names)


def test_a_mistake_of_one_rank_is_told_on_all(two_ranks):
    for answer in two_ranks:
        assert answer["mistaken"]["loss"].startswith("rank 1: loss must be a scalar tensor")
        assert answer["mistaken"]["own"].startswith("rank 1: the model's own")
        assert answer["mistaken"]["batch"].startswith("rank 1: a batch must be (uids, dict of data)")


def test_a_group_that_is_added_midway_is_averaged_over_ranks_too(two_ranks):
    one, other = (answer["releasing"] for answer in two_ranks)
    assert runs.same(one, other)
    assert not runs.same(one["first.weight"], training_ranks.Middle().first.weight.data)
