"""What is read off the graphs of losses."""

import gc
import weakref

import torch

from espnet3.components.modeling.named.graph import reached, shared_with_later

WEIGHT = torch.nn.Parameter(torch.ones(3))
OTHER = torch.nn.Parameter(torch.ones(3))


def test_losses_that_share_only_parameters_are_apart():
    one, two = (WEIGHT * 2).sum(), (WEIGHT * 3).sum()
    assert shared_with_later([one, two]) == [False, False]


def test_a_loss_shares_with_any_later_one():
    trunk = WEIGHT.exp()
    first, second, third = trunk.sum(), OTHER.exp().sum(), (trunk * OTHER).sum()
    assert shared_with_later([first, second, third]) == [True, False, False]
    assert shared_with_later([second, first, third]) == [False, True, False]


def test_a_loss_without_graph_shares_nothing():
    assert shared_with_later([torch.tensor(1.0), WEIGHT.sum(), WEIGHT[0]]) == [False, False, False]


def test_parameters_that_a_loss_comes_to():
    assert reached((WEIGHT * 2).sum(), [WEIGHT, OTHER]) == [True, False]
    assert reached(OTHER, [WEIGHT, OTHER]) == [False, True]
    assert reached(torch.tensor(0.0), [WEIGHT]) == [False]


def test_looking_keeps_nothing_alive():
    hidden = WEIGHT.exp()
    kept, loss = weakref.ref(hidden), hidden.sum()
    shared_with_later([loss, loss])
    del hidden, loss
    gc.collect()
    assert kept() is None
