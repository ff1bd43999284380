"""The names under `trainer:` are those of the installed Lightning."""

import inspect

from lightning.pytorch import Trainer

from espnet3.config.checks.trainer_keys import ARGUMENTS, SET_ELSEWHERE


def test_every_argument_of_lightnings_trainer_is_known_once():
    known = [*ARGUMENTS, *SET_ELSEWHERE]
    assert sorted(known) == sorted(set(inspect.signature(Trainer.__init__).parameters) - {"self"})
