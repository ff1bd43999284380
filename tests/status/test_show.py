"""`espnet3 status` as a user calls it, with commands in Slurm's place that count how often they are asked."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from espnet3.__main__ import main
from espnet3.rundir.records.attempt import AttemptResult
from espnet3.status.run_dirs import one_run_dir, run_dirs


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where Slurm's commands, put first on PATH, note that they were called; they know nothing."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("squeue", "sacct"):
        command = folder / name
        command.write_text(
            f'#!/bin/sh\necho {name} >> "{tmp_path}/calls"\ncat "{tmp_path}/{name}" 2>/dev/null || true\n'
        )
        command.chmod(0o755)
    command = folder / "scontrol"
    command.write_text("#!/bin/sh\necho slurm_load_jobs error: Invalid job id specified >&2\nexit 1\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return tmp_path / "calls"


def asked(calls: Path) -> list[str]:
    return calls.read_text().split() if calls.exists() else []


def test_however_many_runs_slurm_is_asked_once(made, tmp_path: Path, calls: Path, capsys):
    for number in range(30):
        run = type(made)(tmp_path / "recipe" / "exp" / f"trial-{number:02d}")
        train = run.job("train", str(100 + number), result=AttemptResult("done") if number == 1 else None)
        run.job("validate", str(200 + number), after=train)
    (tmp_path / "squeue").write_text("100|RUNNING|None|node1|2026-11-24T15:01:25|(null)\n")
    (tmp_path / "sacct").write_text("102|FAILED|node2|2026-11-24T15:01:25\n")
    assert main(["status", str(tmp_path / "recipe")]) == 0
    assert sorted(asked(calls)) == ["sacct", "squeue"]
    rows = {tuple(line.split()[:4]) for line in capsys.readouterr().out.splitlines()}
    assert ("trial-00", "train", "100", "running") in rows
    assert ("trial-01", "validate", "201", "cancelled") in rows and ("trial-01", "train") not in {
        row[:2] for row in rows
    }
    assert ("trial-02", "validate", "202", "blocked") in rows


def test_of_several_runs_one_of_a_newer_version_is_named_and_the_others_are_shown(
    made, tmp_path: Path, calls: Path, capsys
):
    for name in ("now", "before", "later"):
        run = type(made)(tmp_path / "recipe" / "exp" / name)
        run.job("train", "7", result=AttemptResult("done"))
    newer = next((tmp_path / "recipe" / "exp" / "later").rglob("job.json"))
    newer.write_text(json.dumps({**json.loads(newer.read_text()), "format": 99}))
    assert main(["status", str(tmp_path / "recipe")]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert any(line.split()[:2] == ["now", "train"] for line in lines)
    assert sum("later" in line and "format 99" in line for line in lines) == 1
    assert main(["status", "--json", str(tmp_path / "recipe")]) == 1
    shown = json.loads(capsys.readouterr().out)
    assert [Path(run["run"]).name for run in shown["runs"]] == ["before", "now"]
    assert [Path(run).name for run in shown["unreadable"]] == ["later"]
    assert main(["status", str(newer.parents[2])]) == 2  # it alone


def test_what_the_files_know_slurm_is_not_asked(made, calls: Path, capsys):
    made.job("train", "7", result=AttemptResult("done"))
    assert main(["status", str(made.exp_dir)]) == 0
    assert asked(calls) == []
    assert "done" in capsys.readouterr().out


def test_without_slurm_the_files_are_shown_and_one_line_says_so(made, monkeypatch, capsys, tmp_path: Path):
    monkeypatch.setenv("PATH", str(tmp_path))
    made.job("train", "7")
    assert main(["status", str(made.exp_dir)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "queued" in lines[2] and len(lines) == 4
    assert lines[3].startswith("Slurm can't be asked (squeue is not on PATH")


def test_json_holds_every_field(made, calls: Path, capsys):
    train = made.job("train", "7")
    made.attempt(
        "train",
        job=train,
        result=AttemptResult("failed", "rank 0: no"),
        beat={"metrics": {"loss": float("nan")}},
    )
    assert main(["status", "--json", str(made.exp_dir)]) == 0
    document = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert document["slurm"] == {"asked": True, "problem": None}
    (run,) = document["runs"]
    assert (run["run"], run["state"]) == (str(made.exp_dir), "failed")
    (stage,) = run["stages"]
    assert stage["reason"] == "rank 0: no" and stage["metrics"] == {"loss": None}
    assert stage["job_id"] == "7" and stage["attempt"] == 1 and "heartbeat_age_s" in stage


def test_without_a_directory_the_runs_of_the_recipe_or_of_the_clone_are_shown(
    made, tmp_path: Path, monkeypatch
):
    clone = tmp_path / "clone"
    recipe = clone / "egs" / "corpus" / "task"
    (recipe / "conf").mkdir(parents=True)
    (recipe / "conf" / "config.yaml").touch()
    (clone / "espnet3").mkdir()
    mine, other = (type(made)(folder / "exp" / "default") for folder in (recipe, clone / "egs" / "TEMPLATE"))
    for run in (mine, other):
        run.attempt("train", result=AttemptResult("done"))
    type(made)(recipe / "exp" / "default.old-1").attempt("train", result=AttemptResult("done"))
    (recipe / "exp" / "stats" / "abc" / "stages").mkdir(parents=True)
    (recipe / "exp" / "stats" / "abc" / "stages" / "collect_stats.json").touch()
    for folder in (recipe, recipe / "conf", mine.exp_dir / "attempts"):
        monkeypatch.chdir(folder)
        assert run_dirs([]) == [mine.exp_dir]
    for folder in (clone, clone / "egs", clone / "espnet3"):
        monkeypatch.chdir(folder)
        assert run_dirs([]) == [other.exp_dir, mine.exp_dir]
    monkeypatch.chdir(clone / "egs" / "corpus")
    assert run_dirs([]) == [mine.exp_dir]
    assert run_dirs([recipe / "exp"]) == [mine.exp_dir] == [one_run_dir(recipe)]
    monkeypatch.chdir(tmp_path)
    assert run_dirs([]) == []


@pytest.mark.parametrize("verb", ["status", "logs"])
def test_a_directory_that_is_no_run_is_named_in_one_line(tmp_path: Path, verb: str, capsys):
    assert main([verb, str(tmp_path / "nowhere")]) == 2
    assert main([verb, str(tmp_path)]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2 and "there is no such directory" in said[0] and "is no run directory" in said[1]


def test_watch_goes_on_until_ctrl_c_and_ends_well(made, until, tmp_path: Path):
    made.attempt("train", result=AttemptResult("done"))
    output = tmp_path / "shown"
    with output.open("w") as file:
        watching = subprocess.Popen(
            [sys.executable, "-m", "espnet3", "status", "--watch", str(made.exp_dir)], stdout=file
        )
        until(lambda: output.read_text().count("done") >= 2, "two tables")
        watching.send_signal(signal.SIGINT)
        assert watching.wait(timeout=60) == 0


def test_a_reader_that_goes_away_is_no_error(made):
    made.attempt("train", result=AttemptResult("done"))
    made.log("train", "line\n" * 100_000)
    command = f"{sys.executable} -m espnet3 logs {made.exp_dir} | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("==> ") and done.stderr == ""
