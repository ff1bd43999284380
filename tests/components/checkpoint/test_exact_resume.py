"""A resumed run is the run: weights, optimizers, counters, random generators and log rows, bit for bit."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).with_name("resume_runs.py")


@pytest.mark.parametrize(
    ("case", "only"),
    [
        ("plateau", None),
        ("validating inside", None),
        ("accumulating", None),
        ("max_steps", None),
        ("named", None),
        ("named, validating always", None),
        ("workers", 4),
    ],
)
def test_it_can_be_resumed_from_every_checkpoint(resume_runs, corpus, tmp_path, case, only):
    found = resume_runs.resumed_everywhere(case, corpus, tmp_path, only=only)
    assert found["different"] == {}
    assert found["checkpoints"] >= 9, "one after every batch"


@pytest.mark.parametrize(
    ("world_size", "cases"),
    [(2, ["plateau", "accumulating", "named"]), (3, ["plateau:2", "named:2"]), (4, ["accumulating:2"])],
)
def test_ranks_can_be_resumed_from_every_checkpoint(answers_of_ranks, tmp_path, world_size, cases):
    found = answers_of_ranks(SCRIPT, tmp_path, world_size, "everywhere", *cases)[0]
    assert list(found) == [case.partition(":")[0] for case in cases]
    for case, what in found.items():
        assert what["different"] == {}, case


@pytest.mark.parametrize(
    "case", ["plateau", "accumulating", "max_steps", "named", "named, validating always"]
)
def test_stops_anywhere_also_in_validation_leave_no_trace(resume_runs, corpus, tmp_path, case):
    resume_runs.train(case, corpus, tmp_path / "undisturbed")
    told = resume_runs.stopped_often(case, corpus, tmp_path / "stopped", seed=1)
    assert len(told) >= 5
    ends = [resume_runs.end_of(tmp_path / name) for name in ("undisturbed", "stopped")]
    assert resume_runs.differences(*ends) == []


@pytest.mark.parametrize("ranks", ["1", "2"])
def test_more_than_twenty_kills_of_one_training_leave_no_trace(answer, ranks):
    assert answer("kills", "long", ranks) == {"kills": 22, "different": []}


def test_another_number_of_ranks_goes_on_and_sees_every_utterance_of_the_epoch_once(resume_runs, answer):
    seen = answer("sizes", "plateau")
    assert [bool(rank) for rank in seen] == [True] * 6, "two ranks, then three, then one have trained"
    for epoch in (0, 1):
        uids = [uid for rank in seen for number, batch in rank if number == epoch for uid in batch]
        assert sorted(uids) == sorted(f"train-{number}" for number in range(resume_runs.TRAIN))


def test_the_newest_checkpoint_may_be_damaged_or_of_another_model(resume_runs, corpus, tmp_path, caplog):
    import torch

    resume_runs.train("plateau", corpus, tmp_path / "undisturbed")
    everything = tmp_path / "everything"
    resume_runs.train("plateau", corpus, everything, every_n_batches=1, keep_last=1000)
    names = resume_runs.checkpoints_of(everything)
    home = tmp_path / "damaged"
    resume_runs.killed_after(everything, names[14], home)
    folder = home / "checkpoints"
    cut, flipped, foreign = (folder / name for name in reversed(names[12:15]))
    contents = {path: path.read_bytes() for path in (cut, flipped, foreign)}
    for path in contents:
        path.unlink()  # what is there are links
    cut.write_bytes(contents[cut][:-100])
    middle = len(contents[flipped]) // 2
    flipped.write_bytes(contents[flipped][:middle] + b"\0\1\2\3" + contents[flipped][middle + 4 :])
    torch.save({"state_dict": {}}, foreign)
    os.link(cut, folder / "last.ckpt")
    resume_runs.train("plateau", corpus, home)
    ends = [resume_runs.end_of(tmp_path / name) for name in ("undisturbed", "damaged")]
    assert resume_runs.differences(*ends) == []
    warnings = [record.getMessage() for record in caplog.records if "is not used" in record.getMessage()]
    assert len(warnings) == 3
    assert cut.name in warnings[0] and "BadZipFile" in warnings[0]
    assert flipped.name in warnings[1] and "is damaged" in warnings[1]
    assert foreign.name in warnings[2] and "no checkpoint of a training" in warnings[2]
    assert sorted(path.name for path in folder.glob("*.rejected")) == sorted(
        f"{path.name}.rejected" for path in contents
    )


FULL = """
import resource, sys
from pathlib import Path
import resume_runs
corpus, home = map(Path, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
resume_runs.train("plateau", corpus, home)
"""


def test_a_write_that_fails_is_told_and_leaves_the_earlier_checkpoint(resume_runs, corpus, tmp_path):
    """Where a file may not grow any more, the disk is full for the program."""
    from espnet3.rundir.stop import Stopped
    from espnet3.rundir.task import Task

    with pytest.raises(Stopped):
        resume_runs.train("plateau", corpus, tmp_path / "full", Task.alone("train"), stop_after=3)
    resume_runs.train("plateau", corpus, tmp_path / "undisturbed")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(SCRIPT.parent)}
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(corpus), str(tmp_path / "full")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    last_line = done.stderr.strip().splitlines()[-1]
    assert "UserError" in last_line and "was not written: File too large; make room" in last_line
    folder = tmp_path / "full" / "checkpoints"
    assert sorted(path.name for path in folder.iterdir()) == ["epoch=0-batch=3-step=3.ckpt", "last.ckpt"]
    resume_runs.train("plateau", corpus, tmp_path / "full")
    ends = [resume_runs.end_of(tmp_path / name) for name in ("undisturbed", "full")]
    assert resume_runs.differences(*ends) == []
