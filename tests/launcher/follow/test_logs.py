"""`espnet3 logs` on runs that are over, or not yet begun."""

from dataclasses import asdict
from pathlib import Path

import pytest

from espnet3.__main__ import main
from espnet3.rundir.process import ProcessName
from espnet3.rundir.records.attempt import AttemptResult
from espnet3.rundir.records.outcome import TaskState

GONE = asdict(ProcessName(ProcessName.own().host, 2**22 + 5, "boot-1"))


@pytest.fixture
def logs(made, monkeypatch, tmp_path: Path, capsys):
    """Call `espnet3 logs` without Slurm: exit code, lines printed, lines of standard error."""
    monkeypatch.setenv("PATH", str(tmp_path))

    def call(*arguments: str) -> tuple[int, list[str], list[str]]:
        code = main(["logs", str(made.exp_dir), *arguments])
        said = capsys.readouterr()
        return code, said.out.splitlines(), said.err.splitlines()

    return call


def test_the_attempt_that_began_last_is_shown_or_the_one_that_is_asked_for(made, logs):
    for number, stage in ((1, "prepare"), (1, "train"), (2, "train")):
        made.attempt(stage, number, result=AttemptResult("done"), world_size=2)
        for rank in (0, 1):
            made.log(stage, f"{stage} {number} {rank}\n", number, rank)
    assert logs()[1][1:] == ["train 2 0"]
    assert logs()[1][0].startswith("==> ") and logs()[1][0].endswith("logs/train/attempt-2/rank-0.log <==")
    assert logs("--rank", "1")[1][1:] == ["train 2 1"]
    assert logs("--attempt", "1")[1][1:] == ["train 1 0"]
    assert logs("--stage", "0")[1][1:] == logs("--stage", "prepare")[1][1:] == ["prepare 1 0"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--rank", "2"), "--rank 2: stage 2 train had ranks 0 to 1"),
        (("--attempt", "3"), "has no such attempt; there are 1"),
        (("--stage", "trian"), "there is no such stage"),
        (("--stage", "3"), "nothing of stage 3 validate has run"),
        (("--attempt", "1", "-f"), "don't go together"),
        (("--rnk", "1"), "--rnk: there is no such flag"),
    ],
)
def test_what_is_not_there_is_named_in_one_line(made, logs, arguments, said):
    made.attempt("train", result=AttemptResult("done"), world_size=2)
    code, out, err = logs(*arguments)
    assert (code, out, len(err)) == (2, [], 1) and said in err[0]


def test_the_traceback_of_the_rank_that_failed_first_comes_first(made, logs):
    lost = TaskState(0, GONE, "", outcome="failed", message="reset by peer", traceback="T0", peer_lost=True)
    cause = TaskState(
        1, GONE, "", outcome="failed", message="RuntimeError: no", traceback="T1\nRuntimeError: no"
    )
    made.attempt(
        "train", tasks=(lost, cause), world_size=2, result=AttemptResult("failed", "rank 1: RuntimeError: no")
    )
    made.log("train", "epoch 1\n")
    code, out, _ = logs()
    assert code == 0
    assert out[:3] == ["rank 1 failed first: RuntimeError: no", "T1", "RuntimeError: no"]
    assert out[-1] == "epoch 1"
    code, out, _ = logs("-f")
    assert code == 1 and out[0] == "rank 1 failed first: RuntimeError: no"
    assert out[-1].endswith("stage 2 train: failed (rank 1: RuntimeError: no)")


def test_of_a_killed_attempt_slurms_words_come_after_the_log(made, logs):
    train = made.job("train", "7", result=AttemptResult("killed", "rank 0 was killed on node3"))
    directory = made.attempt(
        "train", job=train, slurm_job_id="7", result=AttemptResult("killed", "rank 0 was killed")
    )
    made.log("train", "epoch 1\n")
    (directory / "srun.log").write_text("oom-kill event\n")
    (made.exp_dir / "logs/train/job-7.log").write_text("starts\n")
    out = logs()[1]
    assert out[0] == "killed: rank 0 was killed"
    assert [line for line in out if line and "==>" not in line][1:] == ["epoch 1", "oom-kill event", "starts"]


def test_a_rank_that_ended_before_it_began_shows_what_it_printed(made, logs):
    directory = made.attempt("train", result=AttemptResult("killed", "rank 0 ended before it began"))
    (directory / "early-0.log").write_text("no module named espnet3\n")
    assert logs()[1][-1] == "no module named espnet3"


def test_a_queued_job_that_has_no_log_says_so(made, logs):
    made.job("train", "7")
    code, out, err = logs()
    assert (code, out) == (0, [])
    assert err == ["stage 2 train: job 7 queued; it has no log yet"]


def test_what_slurm_says_of_a_queued_job_does_nothing_to_a_terminal(made, logs, tmp_path: Path):
    made.job("train", "7")
    (tmp_path / "squeue").write_text("#!/bin/sh\nprintf '7|PENDING|\\033[31m|(null)|N/A|\\n'\n")
    (tmp_path / "squeue").chmod(0o755)
    assert logs()[2] == [r"stage 2 train: job 7 queued (\x1b[31m); it has no log yet"]


def test_follow_of_a_run_that_is_over_shows_it_and_ends_with_its_outcome(made, logs):
    made.attempt("train", result=AttemptResult("done"))
    made.log("train", "epoch 1\n")
    assert logs("-f")[0] == 0
    made.attempt("train", 2, result=AttemptResult("stopped", "SIGINT"))
    made.log("train", "epoch 2\n", 2)
    code, out, _ = logs("-f")
    assert code == 75 and "epoch 2" in out and "epoch 1" not in out
