"""A command added to a sweep: which trials are there, which are new, which are of an older configuration."""

from collections.abc import Callable

import pytest

from espnet3.sweep.trials.expand import Expansion
from espnet3.sweep.trials.extend import ExtendedSweep, code_difference, extend
from espnet3.sweep.trials.objective import Objective
from espnet3.sweep.trials.record import SweepCommand
from espnet3.sweep.trials.trial import base_name

TRAIN = ["train", "validate"]


@pytest.fixture
def asked(expanded: Callable[..., Expansion]) -> Callable[..., ExtendedSweep]:
    """Give a command to a sweep, which is that of an earlier result or a new one."""

    def ask(
        before: ExtendedSweep | None, *overrides: str, stages=TRAIN, revision="r1", read_values=None
    ) -> ExtendedSweep:
        expansion = expanded(*overrides)
        given = SweepCommand(" ".join(overrides), expansion.keys, stages, {"revision": revision, "diff": ""})
        record = before.record if before else None
        configs = [base_name(base) for base in expansion.bases]
        further = {} if read_values is None else {"read_values": read_values}
        return extend(
            record,
            expansion,
            given,
            Objective("valid/loss", "minimize"),
            configs,
            lambda name, own: name,
            **further,
        )

    return ask


def test_added_values_extend_a_sweep_and_the_same_ones_change_nothing(asked):
    one = asked(None, "optimizer.lr=1e-3,1e-4")
    assert len(one.new) == 2 and one.older == []
    two = asked(one, "optimizer.lr=0.0001,0.001,5")
    assert [trial.name for trial in two.trials][:2] == [one.trials[1].name, one.trials[0].name]
    assert two.new == [two.trials[2].name]
    assert list(two.record.trials) == [*one.record.trials, *two.new]
    assert [given["command"] for given in two.record.commands] == [
        *("optimizer.lr=1e-3,1e-4", "optimizer.lr=0.0001,0.001,5")
    ]


def test_a_key_that_is_swept_later_is_known_of_the_earlier_trials_too(asked):
    one = asked(None, "optimizer.lr=1e-3,1e-4")
    two = asked(one, "optimizer.lr=1e-3", "seed=1,2", read_values=lambda name, keys: dict.fromkeys(keys, 1))
    assert two.record.keys == ["optimizer.lr", "seed"]
    assert len(two.new) == 1  # seed=1 is what the first ones have
    values = [trial["values"] for trial in two.record.trials.values()]
    assert values == [
        {"optimizer.lr": 1e-3, "seed": 1},
        {"optimizer.lr": 1e-4, "seed": 1},
        {"optimizer.lr": 1e-3, "seed": 2},
    ]


def test_the_same_values_with_another_configuration_are_new_trials_and_the_old_ones_are_told(asked):
    one = asked(None, "optimizer.lr=1e-3,1e-4,3")
    two = asked(one, "optimizer.lr=1e-3,1e-4", "seed=7")
    assert len(two.new) == 2
    assert two.older == [trial.name for trial in one.trials[:2]]
    assert [trial["older"] for trial in two.record.trials.values()] == [True, True, False, False, False]
    three = asked(two, "optimizer.lr=1e-3,1e-4")  # back again
    assert three.new == [] and three.older == two.new
    assert [trial["older"] for trial in three.record.trials.values()] == [False, False, False, True, True]


def test_stages_that_are_asked_for_later_belong_to_the_trial_too(asked):
    one = asked(None, "seed=1,2", stages=["train"])
    two = asked(one, "seed=1", stages=["collect_stats", "validate"])
    assert two.trials[0].stages == ["collect_stats", "train", "validate"]
    assert [trial["stages"] for trial in two.record.trials.values()] == [two.trials[0].stages, ["train"]]


def test_other_code_is_said(asked):
    one = asked(None, "seed=1", revision="a" * 40)
    given = SweepCommand("", [], [], {"revision": "b" * 40, "diff": ""})
    assert code_difference(one.record, given) == f"revision {'a' * 10} → {'b' * 10}"
    same = SweepCommand("", [], [], {"revision": "a" * 40, "diff": ""})
    assert code_difference(one.record, same) == ""
    changed = SweepCommand("", [], [], {"revision": "a" * 40, "diff": "0123"})
    assert code_difference(one.record, changed) == "other changes in the working tree"


def test_trials_whose_hashes_begin_alike_have_names_of_their_own(asked, monkeypatch):
    monkeypatch.setattr(
        "espnet3.sweep.trials.extend.trial_name", lambda values, digest, hash_length: digest[:hash_length]
    )
    first = asked(None, "seed=1").trials[0]
    taken = asked(None, "seed=1")
    taken.record.trials[first.digest[:8]] = {**taken.record.trials.pop(first.name), "digest": "another"}
    again = asked(taken, "seed=1")
    assert again.new == [first.digest[:12]]
