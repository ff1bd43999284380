"""A stage as a user runs it: real processes, real signals."""

import json
import os
import signal
from pathlib import Path

import pytest

from espnet3.__main__ import main
from espnet3.launcher.attempt.run_stage import move_aside

# Also the slow ones start fresh processes: how they start and end is what is tested here.
pytestmark = pytest.mark.usefixtures("fresh_ranks")

STAGE_0 = ("--stage", "0", "--stop-stage", "0")


def begun(recipe: Path):
    """A condition: a task of stage 0 is at work."""
    return lambda: list((recipe / "data").glob("begun-*"))


def task_pid(recipe: Path) -> int:
    return int(begun(recipe)()[-1].name.removeprefix("begun-"))


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def left_over(recipe: Path) -> list[str]:
    """Temporary files and claims, of which none may stay."""
    return [str(path) for path in recipe.rglob("*") if path.name.endswith(".tmp") or "claim" in path.name]


@pytest.mark.parametrize("launcher", ["local", "debug"])
def test_a_function_that_is_not_there_is_told_before_stage_0_begins(small_recipe: Path, run, launcher: str):
    code, output = run(small_recipe, *STAGE_0, f"launcher={launcher}", "prepare._target_=making.mke")
    assert code == 2 and output.count("\n") == 1 and "prepare._target_=making.mke" in output
    assert not (small_recipe / "data").exists() and not (small_recipe / "exp" / "default").exists()


def test_a_stage_says_what_it_made_and_is_skipped_the_second_time(small_recipe: Path, run):
    code, output = run(small_recipe, *STAGE_0)
    assert code == 0, output
    assert "stage 0 prepare: 3 utterances in" in output
    made = (small_recipe / "data" / "train.jsonl").stat().st_mtime_ns
    code, output = run(small_recipe, *STAGE_0)
    assert code == 0
    assert "stage 0 prepare: skipped" in output
    assert (small_recipe / "data" / "train.jsonl").stat().st_mtime_ns == made
    attempt = small_recipe / "exp" / "default" / "attempts" / "prepare-1"
    assert json.loads((attempt / "rank-0.json").read_text())["outcome"] == "done"
    assert attempt.stat().st_mode & 0o777 == 0o700
    exp_dir = small_recipe / "exp" / "default"
    (exp_dir / "csv").mkdir()
    for torn in (".run.json.77.tmp", "csv/.metrics.csv.77.tmp", "attempts/prepare-1/.rank-0.json.77.tmp"):
        (exp_dir / torn).touch()  # a kill came while it was written
    code, output = run(small_recipe, *STAGE_0, "prepare.size=4")
    assert "prepare.size: 3 → 4" in output and "4 utterances" in output
    assert left_over(small_recipe) == []
    code, output = run(small_recipe, *STAGE_0, "prepare.size=4", "--force", "--dry-run")
    assert "would run (forced)" in output


def test_lines_are_stamped_and_everything_a_task_prints_is_in_its_log(small_recipe: Path, run):
    _, output = run(small_recipe, *STAGE_0)
    lines = output.splitlines()
    own = [line for line in lines if "printed by a library" not in line]
    assert all(line[:4].isdigit() and line[4] == "-" and line[13] == ":" for line in own), output
    log = (small_recipe / "exp" / "default" / "logs" / "prepare" / "attempt-1" / "rank-0.log").read_text()
    assert "printed by a library" in log and "making 3 in mode ok" in log
    assert "printed by a library" in output


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        ("raise", "ValueError: no microphone"),
        pytest.param("mistake", "there is no corpus in /nowhere", marks=pytest.mark.slow),
        pytest.param("die", "was killed", marks=pytest.mark.slow),
    ],
)
def test_a_stage_that_fails_ends_the_command_with_1_and_its_reason(
    small_recipe: Path, run, mode: str, said: str
):
    code, output = run(small_recipe, "--stage", "0", "--stop-stage", "1", f"prepare.mode={mode}")
    assert code == 1
    assert said in output
    assert ("Traceback" in output) == (mode == "raise")
    assert "stage 1" not in output
    assert "logs/prepare/attempt-1" in output
    assert left_over(small_recipe) == []
    code, output = run(small_recipe, *STAGE_0)
    assert code == 0, output


def test_ctrl_c_lets_the_stage_save_and_the_next_start_continues(small_recipe: Path, start, run, until):
    command = start(small_recipe, *STAGE_0, "prepare.mode=wait")
    until(begun(small_recipe), "the stage")
    command.interrupt_terminal()
    code, output = command.finish()
    assert code == 75, output
    assert (small_recipe / "data" / "saved").exists()
    assert "the same command continues it" in output
    assert left_over(small_recipe) == []
    (small_recipe / "data" / "go").touch()
    code, output = run(small_recipe, *STAGE_0, "prepare.mode=wait")
    assert code == 0
    assert "the last attempt did not finish" in output


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_terminated_command_or_a_closed_terminal_stops_the_stage(small_recipe: Path, start, until, number):
    command = start(small_recipe, *STAGE_0, "prepare.mode=wait")
    until(begun(small_recipe), "the stage")
    command.signal(number)
    code, _ = command.finish()
    assert code == 75
    assert (small_recipe / "data" / "saved").exists()


@pytest.mark.slow
def test_a_second_ctrl_c_ends_at_once_with_130(small_recipe: Path, start, until):
    command = start(small_recipe, *STAGE_0, "prepare.mode=deaf")
    until(begun(small_recipe), "the stage")
    pid = task_pid(small_recipe)
    command.interrupt_terminal()
    until(lambda: "stopping" in command.process.stdout.readline(), "the first to be noticed")
    command.interrupt_terminal()
    code, output = command.finish()
    assert code == 130, output
    assert not is_alive(pid)
    assert left_over(small_recipe) == []


@pytest.mark.slow
def test_a_killed_command_takes_its_tasks_along_and_the_next_start_takes_over(
    small_recipe: Path, start, run, until
):
    command = start(small_recipe, *STAGE_0, "prepare.mode=wait")
    until(begun(small_recipe), "the stage")
    pid = task_pid(small_recipe)
    command.signal(signal.SIGKILL)
    code, output = run(small_recipe, *STAGE_0)  # waits until the orphan has saved
    assert code == 0, output
    assert not is_alive(pid)
    assert (small_recipe / "data" / "saved").exists()
    assert left_over(small_recipe) == []


@pytest.mark.slow
def test_of_6_starts_in_one_run_directory_one_wins_and_the_others_say_who_holds_it(
    small_recipe: Path, start, until
):
    commands = [start(small_recipe, *STAGE_0, "prepare.mode=wait") for _ in range(6)]
    until(begun(small_recipe), "the stage")
    until(lambda: sum(command.process.poll() is not None for command in commands) == 5, "5 refusals")
    (small_recipe / "data" / "go").touch()
    results = [command.finish() for command in commands]
    assert sorted(code for code, _ in results) == [0] + [2] * 5
    winner = commands[[code for code, _ in results].index(0)].process.pid
    for code, output in results:
        assert code == 0 or f"in use by process {winner}" in output
    assert len(list((small_recipe / "data").glob("begun-*"))) == 1
    assert left_over(small_recipe) == []


@pytest.mark.slow
def test_a_shared_directory_is_waited_for(small_recipe: Path, start, until):
    first = start(small_recipe, *STAGE_0, "prepare.mode=wait")
    until(begun(small_recipe), "the first")
    second = start(small_recipe, *STAGE_0, "prepare.mode=wait", "tag=second")
    until(lambda: (small_recipe / "exp" / "second").is_dir(), "the second")
    assert "waiting" in second.process.stdout.readline()
    (small_recipe / "data" / "go").touch()
    assert first.finish()[0] == 0
    code, output = second.finish()
    assert code == 0 and "skipped" in output


def test_mistakes_end_with_2_before_anything_is_written(
    small_recipe: Path, capsys: pytest.CaptureFixture[str]
):
    for arguments in (("optimzer.lr=1",), ("--stage", "9"), ("--stge", "1"), ("--stage", "2")):
        code = main(["run", "--recipe", str(small_recipe), *arguments])
        output = "".join(capsys.readouterr())
        assert code == 2, output
        assert output.count("\n") == 1 and output.startswith("espnet3: ")
    assert not (small_recipe / "exp").exists() and not (small_recipe / "data").exists()


def test_a_run_that_slurm_refuses_leaves_no_folders(
    small_recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["run", "--recipe", str(small_recipe), *STAGE_0, "launcher=slurm"]) == 2
    assert "not on PATH" in capsys.readouterr().err
    assert not (small_recipe / "exp").exists()


@pytest.mark.parametrize("more", [(), ("--force",)])
def test_a_folder_of_something_else_is_not_taken_for_a_run_directory(
    small_recipe: Path, tmp_path: Path, run, more: tuple[str, ...]
):
    other = tmp_path / "work"
    other.mkdir()
    (other / "thesis.tex").write_text("years")
    code, output = run(small_recipe, f"exp_dir={other}", *STAGE_0, *more)
    assert code == 2 and output.count("\n") == 1
    assert f"exp_dir={other} is not empty, and no run directory (it holds thesis.tex)" in output
    assert [path.name for path in other.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("key", ["exp_dir", "data_dir", "stats_dir", "sweep.dir"])
def test_a_folder_where_nothing_can_be_made_is_refused_by_a_dry_run_as_by_the_command(
    small_recipe: Path, capsys: pytest.CaptureFixture[str], key: str
):
    words = ("--multirun", "seed=1,2") if key == "sweep.dir" else ()
    said = []
    for more in ((), ("--dry-run",)):
        code = main(["run", "--recipe", str(small_recipe), f"{key}=/proc/foo", *words, *more])
        said.append("".join(capsys.readouterr()))
        assert code == 2 and said[-1].count("\n") == 1, said
    assert said[0] == said[1] and "/proc is a file system of the kernel (proc)" in said[0]
    assert not (small_recipe / "exp").exists() and not (small_recipe / "data").exists()


@pytest.mark.parametrize(
    ("deed", "said"),
    [
        ("pass", "data is untouched, and stays as it was finished before: 3 utterances"),
        ("(folder / 'wav' / 'a.wav').write_text('b')", "a.wav is no longer as finished before"),
        ("(folder / 'wav' / 'a.wav').unlink()", "data/wav is no longer as finished before"),
        ("(folder / 'text').unlink()", "data/text is no longer as finished before"),
        ("(folder / 'wav' / 'new').touch()", "is no longer as finished before"),
    ],
)
def test_a_corpus_is_still_finished_after_a_failure_under_another_tag_that_has_not_touched_it(
    small_recipe: Path, run, deed: str, said: str
):
    assert run(small_recipe, *STAGE_0)[0] == 0
    (small_recipe / "data" / "wav").mkdir()
    (small_recipe / "data" / "wav" / "a.wav").write_text("a")
    (small_recipe / "data" / "text").touch()
    (small_recipe / "other.py").write_text(
        f"from pathlib import Path\n\n\ndef make(data_dir, **_):\n    folder = Path(data_dir)\n    {deed}\n"
        "    raise ValueError('no microphone')\n"
    )
    code, output = run(small_recipe, *STAGE_0, "tag=other", "prepare._target_=other.make")
    assert code == 1 and said in output and "no microphone" in output, output
    code, output = run(small_recipe, *STAGE_0)
    assert code == 0 and ("stage 0 prepare: skipped" in output) == (deed == "pass"), output


def test_moving_a_training_aside_leaves_what_it_did_not_make(tmp_path: Path):
    for name in ("checkpoints", "csv", "logs"):
        (tmp_path / "run" / name).mkdir(parents=True)
    for name in ("run.json", "trial.json", "notes.txt"):
        (tmp_path / "run" / name).touch()
    old = move_aside(tmp_path / "run")
    assert sorted(path.name for path in old.iterdir()) == ["checkpoints", "csv", "run.json"]
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["logs", "notes.txt", "trial.json"]


def test_moving_a_training_aside_leaves_what_a_person_put_among_its_checkpoints(tmp_path: Path):
    folder = tmp_path / "run" / "checkpoints"
    ours = [
        *("best.json", "epoch=1-batch=7-step=3.ckpt", "epoch=1-step=2.ckpt", "epoch=1-step=2.ckpt.rejected"),
        *("epoch=1-step=2.rank-0.part", "last.ckpt"),
    ]
    folder.mkdir(parents=True)
    for name in (*ours, "averaged.ckpt"):
        (folder / name).touch()
    (folder / "of-a-colleague").mkdir()
    old = move_aside(tmp_path / "run")
    assert sorted(path.name for path in (old / "checkpoints").iterdir()) == ours
    assert sorted(path.name for path in folder.iterdir()) == ["averaged.ckpt", "of-a-colleague"]


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_a_run_directory_that_cannot_be_made_is_named(small_recipe: Path, run, more: tuple[str, ...]):
    (small_recipe / "exp").touch()
    code, output = run(small_recipe, *STAGE_0, *more)
    assert code == 2 and output.count("\n") == 1
    assert f"can't write {small_recipe}/exp" in output


def test_dry_run_prints_every_job_and_touches_nothing(small_recipe: Path, run):
    before = sorted(small_recipe.rglob("*"))
    code, output = run(small_recipe, "--dry-run")
    assert code == 0
    for stage in ("stage 0 prepare", "stage 1 collect_stats", "stage 2 train", "stage 3 validate"):
        assert f"{stage}: launcher=local" in output
    assert sorted(small_recipe.rglob("*")) == before


@pytest.mark.slow
def test_the_debug_launcher_runs_in_the_commands_own_process(small_recipe: Path, start, until):
    command = start(small_recipe, *STAGE_0, "launcher=debug", "prepare.mode=wait")
    until(begun(small_recipe), "the stage")
    assert task_pid(small_recipe) == command.process.pid
    command.signal(signal.SIGINT)
    assert command.finish()[0] == 75


def test_what_the_submitting_side_imports_stays_small(small_recipe: Path):
    script = (
        "import sys; from espnet3.__main__ import main; import espnet3.launcher.dispatch;"
        f"main(['run', '--recipe', {str(small_recipe)!r}, '--dry-run']);"
        "print([name for name in ('torch', 'lightning', 'numpy') if name in sys.modules])"
    )
    output = os.popen(f'{__import__("sys").executable} -c "{script}"').read()
    assert output.strip().endswith("[]")
