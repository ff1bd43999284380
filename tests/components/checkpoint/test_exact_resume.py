"""A resumed run is the run: weights, optimizers, counters, random generators and log rows, bit for bit."""

import pytest

import resume_cases
import resume_runs
import resume_script

pytestmark = pytest.mark.slow

CASES = [
    "plateau",
    "validating inside",
    "accumulating",
    "max_steps",
    "named",
    "named, validating always",
    "workers",
    "workers, named",
]


@pytest.mark.parametrize("case", CASES)
def test_it_can_be_resumed_from_every_checkpoint(corpus, tmp_path, case):
    found = resume_runs.resumed_everywhere(case, corpus, tmp_path)
    assert found["different"] == {}
    assert found["checkpoints"] >= 9, "one after every batch"


@pytest.mark.parametrize(
    ("world_size", "cases"),
    [
        (2, ["plateau", "accumulating", "max_steps", "named", "workers, named"]),
        (3, ["plateau", "accumulating", "named"]),
        (4, ["plateau", "accumulating", "named"]),
    ],
)
def test_ranks_can_be_resumed_from_every_checkpoint(answers_of_ranks, tmp_path, world_size, cases):
    found = answers_of_ranks(resume_script.__file__, tmp_path, world_size, "everywhere", *cases)[0]
    assert list(found) == cases
    for case, what in found.items():
        assert what["different"] == {}, case
        assert what["checkpoints"] >= 5, case


@pytest.mark.parametrize(
    ("case", "batches"),
    [
        # of training and of validation; the training's last needs no stop
        ("plateau", 2 * (9 + 3)),
        ("accumulating", 0),
        ("max_steps", 2 * 7),
        ("named", 2 * (9 + 3)),
        ("named, validating always", 8 * (1 + 3)),
    ],
)
def test_a_stop_in_every_batch_of_training_and_validation_leaves_no_trace(
    corpus, tmp_path, equal_ends, case, batches
):
    resume_runs.train(case, corpus, tmp_path / "undisturbed")
    told = resume_runs.stopped_everywhere(case, corpus, tmp_path / "stopped")
    assert len(told) >= batches - 1
    equal_ends(tmp_path / "undisturbed", tmp_path / "stopped")


@pytest.mark.parametrize("ranks", ["1", "2"])
def test_more_than_twenty_kills_and_stops_of_one_training_leave_no_trace(answer, ranks):
    told = answer("kills", "long", ranks)
    assert told.pop("different") == []
    assert told["kills"] >= 22 and told["torn"] >= 5 and told["asked"] >= 4


def test_another_number_of_ranks_goes_on_and_sees_every_utterance_of_the_epoch_once(answer):
    told = answer("sizes", "named")  # stopped with gradients that wait for an update
    assert told["codes"] == [[75] * 2, [75] * 3, [0]]
    for before, now in ((2, 3), (3, 1)):
        assert f"trained on {before} ranks before, on {now} from now on" in told["warned"]
    for epoch in (0, 1):
        uids = [uid for rank in told["seen"] for number, batch in rank if number == epoch for uid in batch]
        assert sorted(uids) == sorted(f"train-{number}" for number in range(resume_cases.TRAIN))
