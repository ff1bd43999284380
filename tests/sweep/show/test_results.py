"""What a sweep is seen as: objectives, the best trial, curves, failures; as a view, a table and a log."""

from dataclasses import asdict, replace
from pathlib import Path

import pytest

from espnet3.errors import UserError
from espnet3.rundir.layout import attempt_dir
from espnet3.rundir.process import ProcessName
from espnet3.rundir.records.attempt import AttemptResult, Begin, write_begin, write_result
from espnet3.rundir.records.outcome import TaskState, write_task_state
from espnet3.rundir.records.record import Record, read_record, write_record
from espnet3.status.snapshot import QueueSnapshot
from espnet3.sweep.run import select_trials
from espnet3.sweep.show.logs import find_first_failed, find_trial
from espnet3.sweep.show.results import read_sweep, read_sweep_status
from espnet3.sweep.show.status import show_sweeps
from espnet3.sweep.show.table import sweep_table
from espnet3.sweep.trials.folder import split_sweeps, sweep_of, trial_dir
from espnet3.sweep.trials.record import (
    ListedTrial,
    SweepCommand,
    SweepRecord,
    read_sweep_record,
    write_sweep_record,
)
from espnet3.sweep.trials.trial import Trial, read_trial, write_trial
from espnet3.terminal import screen

GONE = asdict(ProcessName(ProcessName.own().host, 2**22 + 5, "boot-1"))


class Screen:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def line(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Six trials: four done (one of an older configuration, one that diverged), one failed, one missing."""
    lrs = {"a__11": 1e-4, "b__22": 2e-4, "old__33": 1e-4, "nan__44": 9.0, "bad__55": 5.0, "none__66": 7.0}
    losses = {"a__11": 3.0, "b__22": 2.0, "old__33": 1.0, "nan__44": float("nan")}
    directory = tmp_path / "exp" / "sweeps" / "mine"
    for number, (name, lr) in enumerate(lrs.items()):
        trial = Trial(
            name, str(number), {"optimizer.lr": lr}, [], "c", {}, {}, ["train", "validate"], f"run {name}"
        )
        write_trial(directory, trial)
        if name in losses:
            home = trial_dir(directory, name)
            scores = {"test/wer": 0.5 + number, "valid/loss": 50.0}
            write_record(home, "train", Record({}, {}, done=True, metrics={"valid/loss": losses[name]}))
            write_record(home, "validate", Record({}, {}, done=True, metrics=scores))
    bad = trial_dir(directory, "bad__55")
    write_record(bad, "train", Record({}, {}))
    write_begin(attempt_dir(bad, "train", 1), Begin("train", 1, "local", 2, GONE, started_at=100.0))
    for rank, at in ((0, 120.0), (1, 110.0)):
        write_task_state(
            attempt_dir(bad, "train", 1),
            TaskState(rank, GONE, "", 100.0, at, "failed", f"ValueError: {rank}", f"Traceback of {rank}"),
        )
    write_result(
        attempt_dir(bad, "train", 1), AttemptResult("failed", "rank 1: ValueError: 1", ended_at=130.0)
    )
    (trial_dir(directory, "a__11") / "csv").mkdir()
    (trial_dir(directory, "a__11") / "csv" / "metrics.csv").write_text(
        "step,epoch,train/loss,valid/loss\n1,0,9.0,\n2,0,8.0,\n2,0,,7.0\n3,1,6.0,\n4,1,,nan\n"
    )
    listed = {
        name: ListedTrial(str(number), {"optimizer.lr": lr}, ["train", "validate"], older=name == "old__33")
        for number, (name, lr) in enumerate(lrs.items())
    }
    given = SweepCommand("run.sh -m", ["optimizer.lr"], ["train", "validate"], {"revision": "", "diff": ""})
    record = SweepRecord(
        "/r",
        ["optimizer.lr"],
        "valid/loss",
        "minimize",
        [asdict(given)],
        {k: asdict(v) for k, v in listed.items()},
    )
    write_sweep_record(directory, record)
    return directory


def test_the_view_holds_what_a_report_shows(sweep: Path):
    view = read_sweep(sweep, QueueSnapshot())
    assert (view.keys, view.objective, view.direction) == (["optimizer.lr"], "valid/loss", "minimize")
    assert view.command == "run.sh -m" and view.name == "mine"
    trials = {trial.name: trial for trial in view.trials}
    assert [trial.state for trial in view.trials] == ["done"] * 4 + ["failed", "missing"]
    assert trials["a__11"].objective == 3.0
    assert trials["a__11"].metrics == {"valid/loss": 3.0, "test/wer": 0.5}, "one number for each metric"
    assert trials["a__11"].curves == {"train/loss": [(0.0, 8.0), (1.0, 6.0)], "valid/loss": [(0.0, 7.0)]}
    assert trials["a__11"].command == "run a__11" and trials["a__11"].directory == "trials/a__11"
    failed = trials["bad__55"]
    assert (failed.message, failed.traceback) == ("rank 1: ValueError: 1", "Traceback of 1")
    assert failed.seconds == 30.0 and failed.objective is None
    assert trials["old__33"].older and not failed.older


def test_the_best_is_done_of_the_current_configuration_and_a_number(sweep: Path):
    assert read_sweep(sweep, QueueSnapshot()).best == "b__22"
    record = read_sweep_record(sweep)
    assert record is not None
    first = {"nan__44": record.trials["nan__44"]}
    write_sweep_record(sweep, replace(record, trials=first | record.trials))
    assert read_sweep(sweep, QueueSnapshot()).best == "b__22"


def test_the_table_has_a_line_for_each_trial_and_marks_the_best(sweep: Path):
    lines = [
        "".join(text for text, _ in line)
        for line in sweep_table(read_sweep_status(sweep, queue=QueueSnapshot()))
    ]
    assert lines[0].endswith("mine: 6 trials: 4 done, 1 failed, 1 missing")
    assert [line.split()[:4] for line in lines[2:4]] == [
        ["1", "1e-4", "done", "3"],
        ["*", "2", "2e-4", "done"],
    ]
    assert "older configuration" in lines[4]
    assert lines[6].split()[:3] == ["5", "5", "failed"] and "rank 1: ValueError: 1" in lines[6]
    assert lines[-1] == "best: b__22, valid/loss 2 at its best checkpoint"


@pytest.fixture
def diverged(sweep: Path) -> Path:
    """The sweep, whose failed trial has diverged after two epochs."""
    home = trial_dir(sweep, "bad__55")
    attempt = attempt_dir(home, "train", 1)
    reason = "diverged at epoch 3, batch 1: no batch from there on had a finite loss (lower the rate)"
    for rank in range(2):
        write_task_state(attempt, TaskState(rank, GONE, "", 100.0, 120.0, "failed", reason, diverged=True))
    write_result(attempt, AttemptResult("failed", reason, ended_at=130.0))
    (home / "csv").mkdir()
    (home / "csv" / "metrics.csv").write_text("step,epoch,valid/loss\n2,0,7.0\n4,1,0.25\n6,2,nan\n")
    return sweep


def test_a_trial_that_diverged_is_shown_with_its_last_finite_value(diverged: Path):
    status = read_sweep_status(diverged, queue=QueueSnapshot())
    line = "".join(text for text, _ in sweep_table(status)[6])
    assert line.split()[:4] == ["5", "5", "DIVERGED", "(0.25)"] and "diverged at epoch 3, batch 1" in line
    assert status.best is not None and status.best.name == "b__22"
    trial = read_sweep(diverged, QueueSnapshot()).trials[4]
    assert (trial.state, trial.objective, trial.last_finite) == ("diverged", None, 0.25)


def test_a_trial_that_diverged_is_run_again_only_where_that_is_asked_for(diverged: Path):
    record = read_sweep_record(diverged)
    trials = [read_trial(diverged, name) for name in record.trials]
    selection = select_trials(diverged, trials, record, force=False)
    assert (selection.diverged, [trial.name for trial in selection.to_run]) == (["bad__55"], ["none__66"])
    assert str(selection) == "6 trials: 1 to run, 4 done, 1 diverged, which only --force runs again"
    for asked in ({"force": True}, {"force": False, "diverged_again": True}):
        again = select_trials(diverged, trials, record, **asked)
        assert "bad__55" in [trial.name for trial in again.to_run] and not again.diverged


@pytest.mark.parametrize("columns", ["80", ""])
def test_through_a_pipe_a_table_is_as_wide_as_columns_says(diverged: Path, columns, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", columns)
    show_sweeps([diverged], screen.Screen())
    lines = capsys.readouterr().out.splitlines()
    assert (max(map(len, lines)) <= 80) == bool(columns)
    assert any("DIVERGED" in line for line in lines)


@pytest.mark.parametrize("width", [80, 60, 40])
def test_in_a_narrow_terminal_the_message_stands_below_the_row_and_no_line_is_wider(sweep: Path, width: int):
    status = read_sweep_status(sweep, queue=QueueSnapshot())
    long = "rank 1: ValueError: the tensor has 3 dimensions and not the 2 that it should have had"
    rows = [replace(row, state=replace(row.state, message=long)) for row in status.rows]
    status = replace(status, rows=rows)
    lines = ["".join(text for text, _ in line) for line in sweep_table(status, width)]
    assert max(map(len, lines)) <= width
    below = [line for line in lines if line.startswith("  ") and "rank 1" in line]
    assert len(below) == len(status.rows)
    words = set(" ".join(lines).split())
    assert {"ValueError:", "tensor", "dimensions"} <= words, "no word is split"


def test_a_trial_is_named_by_number_name_or_hash(sweep: Path):
    for given in ("2", "b__22", "b_", "22"):
        assert find_trial(sweep, given) == trial_dir(sweep, "b__22")
    for given, message in (("9", "there is no such trial"), ("x", "give a number from 1 to 6")):
        with pytest.raises(UserError, match=message):
            find_trial(sweep, given)


def test_logs_show_the_first_failure(sweep: Path):
    screen = Screen()
    assert find_first_failed(sweep, screen) == trial_dir(sweep, "bad__55")
    assert screen.lines == ["trial 5 bad__55: failed: rank 1: ValueError: 1"]


def test_a_sweep_is_told_from_a_run(sweep: Path, tmp_path: Path):
    trial = trial_dir(sweep, "a__11")
    assert split_sweeps([sweep, trial]) == ([sweep.resolve()], [trial])
    assert split_sweeps([sweep.parent]) == ([sweep.resolve()], [])
    assert sweep_of(trial) == sweep and sweep_of(sweep) is None


def test_a_directory_without_a_sweep_or_with_a_broken_one_is_named(sweep: Path, tmp_path: Path):
    with pytest.raises(UserError, match=r"holds no sweep: it has no sweep.json"):
        read_sweep_status(tmp_path)
    whole = (sweep / "sweep.json").read_text()
    for broken in ("{", whole.replace('"train"', '"trian"')):
        (sweep / "sweep.json").write_text(broken)
        with pytest.raises(UserError, match=r"can't be read as the record of a sweep"):
            read_sweep_status(sweep)


def test_a_shorter_training_is_marked_and_not_compared_with_longer_ones(sweep: Path):
    for name, epochs in (("a__11", 10), ("b__22", 5)):
        record = read_record(trial_dir(sweep, name), "train")
        assert record is not None
        write_record(trial_dir(sweep, name), "train", replace(record, part={"trainer.max_epochs": epochs}))
    status = read_sweep_status(sweep, queue=QueueSnapshot())
    assert status.best is not None and status.best.name == "a__11", "b has less loss, after half the epochs"
    assert "trainer.max_epochs=5, not 10" in str(sweep_table(status))
    view = {trial.name: trial for trial in read_sweep(sweep, QueueSnapshot()).trials}
    assert view["b__22"].older and view["b__22"].message == "trainer.max_epochs=5, not 10"
    assert not view["a__11"].older
    swept = read_sweep_record(sweep)
    assert swept is not None
    write_sweep_record(sweep, replace(swept, keys=["optimizer.lr", "trainer.max_epochs"]))
    best = read_sweep_status(sweep, queue=QueueSnapshot()).best
    assert best is not None and best.name == "b__22", "who sweeps the length compares it"
