"""When buckets of gradients leave, and what is read from the device; one process stands for all ranks."""

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from espnet3.components.modeling.named.reduction import GradientReduction


class Sum:
    """A collective of one rank: what was sent is its own sum."""

    def wait(self):
        pass


class Model(nn.Module):
    """Three layers; the last-registered parameters take no part until `uses_last`."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))
        self.last = nn.Linear(4, 4)

    def forward(self, uses_last=False, reentrant=False):
        x = torch.ones(2, 4, requires_grad=True)
        for layer in self.layers:
            x = layer(x)
        if uses_last:
            x = checkpoint(self.last, x, use_reentrant=True) if reentrant else self.last(x)
        return x.sum()


@pytest.fixture
def events(monkeypatch):
    """What was sent, and when the backward pass came to the first layer, in order."""
    seen = []

    def send(buffer, **_):
        seen.append("sent")
        return Sum()

    monkeypatch.setattr(torch.distributed, "all_reduce", send)
    return seen


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Model()


def run(reduction, loss, agreed=False):
    """One update's pass; the number that stands for the parameters without gradient."""
    number = reduction.expect(loss)
    reduction.agreed = agreed
    with reduction.during_backward():
        loss.backward()
    reduction.wait()
    return number


def reduction_of(model):
    return GradientReduction(list(model.parameters()), bucket_bytes=1)


def test_parameters_without_gradient_at_the_end_do_not_hold_back_the_buckets_before_them(events, model):
    model.layers[0].weight.register_post_accumulate_grad_hook(lambda _: events.append("first layer"))
    reduction = reduction_of(model)
    run(reduction, model())
    assert "sent" not in events[: events.index("first layer")]  # nothing is known yet: they may come
    model.zero_grad()
    events.clear()
    run(reduction, model())
    assert events.index("first layer") >= 6  # `last` at once, and the two layers after the first one


def test_they_are_waited_for_where_a_loss_comes_to_them_after_all(events, model):
    reduction = reduction_of(model)
    run(reduction, model())
    assert model.last.weight.grad is None
    model.zero_grad()
    loss = model(uses_last=True)
    run(reduction, loss)
    assert model.last.weight.grad.abs().sum() > 0


def test_what_all_ranks_expect_to_be_missing_is_not_read_and_stays_none(events, model, monkeypatch):
    reduction = reduction_of(model)
    assert run(reduction, model()) == 0
    reads = []
    monkeypatch.setattr(torch.Tensor, "tolist", lambda self: reads.append(self) or [1.0] * len(self))
    first = run(reduction, model(), agreed=True)
    assert first > 0 and not reads and model.last.weight.grad is None
    assert run(reduction, model(), agreed=False) == first
    assert len(reads) == 1  # of all buckets together: another rank has them


def test_ranks_that_hold_a_gradient_expect_something_else(events, model):
    reduction = reduction_of(model)
    run(reduction, model())
    without = reduction.expect(model())
    model.last.weight.grad = torch.zeros(4, 4)
    assert reduction.expect(model()) not in (0, without)


def test_a_gradient_that_no_graph_announces_is_an_error_and_not_lost(events, model):
    reduction = reduction_of(model)
    run(reduction, model())
    with pytest.raises(RuntimeError, match="use_reentrant=False"):
        run(reduction, model(uses_last=True, reentrant=True))


def test_a_reentrant_checkpoint_from_the_start_is_waited_for(events, model):
    reduction = reduction_of(model)
    for _ in range(2):
        model.zero_grad()
        run(reduction, model(uses_last=True, reentrant=True))
        assert model.last.weight.grad.abs().sum() > 0
