"""status, logs, cancel and resume on a real cluster: they show what is, follow it, end it and continue it."""

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from espnet3.rundir.records.job import read_job_id, read_jobs

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("fresh_ranks")]

ROOT = Path(__file__).resolve().parents[2]
Until = Callable[[Callable[[], object], str], None]
ALL_STAGES = {"0-prepare", "1-collect_stats", "2-train", "3-validate"}
WAITS = ("launcher=slurm", "prepare.mode=wait")
DETACHED = ("--detach", *WAITS)
# In place of sbatch: kills the command that called it, at its AT-th submission (tries that submit nothing are
# not counted), before Slurm has the job, after it, or before though Slurm gets it a while later.
KILLER = """#!/bin/sh
here=$(dirname "$0")
case "$*" in
*--test-only*) [ "$WHEN" != trying ] || kill -9 $PPID; exec "$REAL" "$@" ;;
esac
echo submits >> "$here/count"
[ "$(wc -l < "$here/count")" = "$AT" ] || exec "$REAL" "$@"
case $WHEN in
before) kill -9 $PPID ;;
after) "$REAL" "$@"; kill -9 $PPID ;;
late) setsid sh -c 'sleep 0.7; exec "$REAL" "$@"' sh "$@" > /dev/null 2>&1 & kill -9 $PPID ;;
esac
"""


class Shell:
    """A person at a shell of the login node, with one recipe."""

    def __init__(self, cluster, recipe: Path, start_on_slurm, until: Until, bin_dir: Path) -> None:
        self.cluster, self.recipe, self.until, self.bin_dir = cluster, recipe, until, bin_dir
        self.exp_dir = recipe / "exp" / "default"
        self._start = start_on_slurm

    def start(self, verb: str, *arguments: str, **environment: str):
        """Start `espnet3 VERB` on the recipe or its run directory."""
        target = ("--recipe", self.recipe) if verb == "run" else (self.exp_dir,)
        return self._start(verb, *target, *arguments, **environment)

    def __call__(self, verb: str, *arguments: str, **environment: str) -> tuple[int, str]:
        """The exit code and output of a command that ends by itself."""
        return self.start(verb, *arguments, **environment).finish()

    def submit_and_be_killed(self, at: int, when: str, *arguments: str) -> None:
        """Submit all stages, and be killed in the midst of it."""
        real = shutil.which("sbatch", path=self.cluster.environment["PATH"])
        path = f"{self.bin_dir}:{self.cluster.environment['PATH']}"
        code, _ = self("run", *arguments, AT=str(at), WHEN=when, REAL=str(real), PATH=path)
        assert code == -signal.SIGKILL

    def states(self) -> dict[str, tuple[str, str]]:
        """State and reason of each stage, as `status --json` says."""
        code, output = self("status", "--json")
        assert code == 0, output
        (run,) = json.loads(output)["runs"]
        return {stage["stage"]: (stage["state"], stage["reason"]) for stage in run["stages"]}

    def awaits(self, stage: str, *states: str) -> str:
        """Wait until a stage is in one of some states; its reason."""
        self.until(lambda: self.states().get(stage, ("",))[0] in states, f"{stage} to be {states}")
        return self.states()[stage][1]

    def in_queue(self) -> list[tuple[str, str, str]]:
        """Id, stage and dependency of every job in Slurm's queue, by id."""
        lines = self.cluster("squeue", "--me", "--noheader", "--format=%i %j %E").splitlines()
        jobs = [line.split(maxsplit=2) for line in lines]
        jobs.sort(key=lambda job: int(job[0]))  # 99 comes before 100
        return [(job, name.rpartition(".")[2], after) for job, name, after in jobs]

    def job_id(self, name: str) -> str | None:
        return read_job_id(self.exp_dir / "jobs" / name)

    def lets_go(self) -> None:
        """Let a waiting stage 0 end."""
        (self.recipe / "data").mkdir(exist_ok=True)
        (self.recipe / "data" / "go").touch()


@pytest.fixture
def at_shell(cluster, start_on_slurm, tmp_path: Path, until: Until) -> Iterator[Callable[[Path], Shell]]:
    """Sit down before a recipe."""
    bin_dir = tmp_path / "bin"
    bin_dir.mkdir()
    (bin_dir / "sbatch").write_text(KILLER)
    (bin_dir / "sbatch").chmod(0o755)
    shells: list[Shell] = []

    def sit(recipe: Path) -> Shell:
        shells.append(Shell(cluster, recipe, start_on_slurm, until, bin_dir))
        return shells[-1]

    yield sit
    # A stage that waits ends sooner by being let go than by being cancelled.
    cluster("scancel", "--state=PENDING", "--user", str(os.geteuid()))
    for shell in shells:
        shell.lets_go()


def chained(shell: Shell) -> bool:
    """Whether the queue holds each of four stages once, and each waits for the one before."""
    jobs = shell.in_queue()
    assert sorted(stage for _, stage, _ in jobs) == sorted(ALL_STAGES), jobs
    by_stage = {stage: (job, after) for job, stage, after in jobs}
    stages = sorted(by_stage)
    for before, stage in pairwise(stages):
        assert f"afterok:{by_stage[before][0]}" in by_stage[stage][1], jobs
    noted = {shell.job_id(job.name) for job in read_jobs(shell.exp_dir)}
    return noted == {job for job, _, _ in jobs}


@pytest.mark.parametrize(
    ("at", "when"),
    [
        (0, "trying"),
        (1, "before"),
        (1, "after"),
        (1, "late"),
        (2, "before"),
        (3, "after"),
        (3, "late"),
        (4, "after"),
    ],
)
def test_a_submission_that_is_killed_anywhere_is_resumed_with_no_job_twice_and_none_lost(
    at_shell, small_recipe: Path, at: int, when: str
):
    shell = at_shell(small_recipe)
    shell.submit_and_be_killed(at, when, *WAITS)
    assert len(shell.in_queue()) <= at
    code, output = shell("resume", "--detach")
    assert code == 0, output
    assert chained(shell)
    code, output = shell("resume", "--detach")
    assert code == 0 and "nothing to submit" in output and chained(shell)


def test_a_command_that_was_killed_while_it_described_its_jobs_is_resumed_with_all_of_them(
    at_shell, small_recipe: Path
):
    shell = at_shell(small_recipe)
    shell.submit_and_be_killed(0, "trying", *WAITS)
    shutil.rmtree(shell.exp_dir / "jobs" / "validate-1")
    (shell.exp_dir / "jobs" / "train-1" / "job.json").unlink()
    assert shell("resume", "--detach")[0] == 0
    assert {stage for _, stage, _ in shell.in_queue()} == ALL_STAGES


def test_of_several_resumes_at_once_one_submits(at_shell, small_recipe: Path):
    shell = at_shell(small_recipe)
    shell.submit_and_be_killed(2, "before", *WAITS)
    outputs = [command.finish() for command in [shell.start("resume", "--detach") for _ in range(4)]]
    assert [code for code, _ in outputs] == [0] * 4, outputs
    assert sum("submitted as job" in output for _, output in outputs) == 1
    assert chained(shell)


def test_status_shows_a_chain_from_queued_to_failed_and_resume_begins_at_what_is_not_done(
    at_shell, small_recipe: Path, cluster
):
    shell = at_shell(small_recipe)
    later = "+resources.prepare.additional_parameters.begin=now+1hour"
    assert shell("run", *DETACHED, "--stop-stage", "1", later)[0] == 0
    shell.until(lambda: shell.states()["prepare"] == ("queued", "BeginTime"), "Slurm's reason")
    assert shell.states()["collect_stats"] == ("queued", "after stage 0")
    assert "no log yet" in shell("logs")[1]
    prepare, stats = (shell.job_id(name) or "" for name in ("prepare-1", "collect_stats-1"))
    cluster("scontrol", "hold", stats)
    assert shell.awaits("collect_stats", "held").startswith("JobHeld")
    cluster("scontrol", "release", stats)
    cluster("scontrol", "update", f"jobid={prepare}", "StartTime=now")
    shell.until(lambda: "1/3" in shell("status")[1], "the stage's progress")
    code, output = shell("status")
    assert code == 0
    row = next(line.split() for line in output.splitlines() if line.startswith("prepare"))
    assert row[1:4] == [prepare, "running", "1"] and "1/3" in row and "node1" in row
    assert shell.states()["prepare"] == ("running", "")
    assert "making 3 in mode wait" in shell("logs")[1]

    code, output = shell("cancel", "--wait")
    assert code == 0 and output.count("cancelled job") == 2
    assert (small_recipe / "data" / "saved").exists() and not shell.in_queue()
    assert shell.states()["prepare"] == ("cancelled", "saved")
    assert shell.states()["collect_stats"][0] in ("cancelled", "blocked")
    code, output = shell("cancel")
    assert code == 0 and "nothing to cancel" in output
    assert shell("logs", "-f")[0] == 75

    # The saved configuration still asks for the later begin; the stage that fails is the next one.
    shell.lets_go()
    assert shell("resume", "--detach")[0] == 0
    cluster("scontrol", "update", f"jobid={shell.job_id('prepare-2')}", "StartTime=now")
    code, output = shell("logs", "-f")
    assert code == 1, output
    assert "stage 0 prepare: 3 utterances" in output and "stage 1 collect_stats: job" in output
    assert shell.states()["prepare"] == ("done", "")
    assert shell.awaits("collect_stats", "failed").startswith("rank 0: ")
    assert shell("logs")[1].startswith("failed: rank 0: ")
    assert shell("resume", "--detach")[0] == 0
    assert [stage for _, stage, _ in shell.in_queue()] == ["1-collect_stats"]


def test_a_stage_that_was_cancelled_alone_is_submitted_again_behind_the_one_that_runs(
    at_shell, small_recipe: Path, cluster
):
    shell = at_shell(small_recipe)
    assert shell("run", *DETACHED, "--stop-stage", "2")[0] == 0
    prepare = shell.job_id("prepare-1") or ""
    cluster("scancel", shell.job_id("collect_stats-1") or "")
    shell.awaits("train", "blocked")
    assert shell.states()["collect_stats"][0] == "cancelled"
    assert shell("resume", "--detach")[0] == 0
    jobs = shell.in_queue()
    assert [stage for _, stage, _ in jobs] == ["0-prepare", "1-collect_stats", "2-train"]
    assert (
        jobs[0][0] == prepare and f"afterok:{prepare}" in jobs[1][2] and f"afterok:{jobs[1][0]}" in jobs[2][2]
    )
    assert shell.states()["collect_stats"] == ("queued", "after stage 0")
    assert shell.states()["train"] == ("queued", "after stage 1")


def test_logs_follow_a_job_through_its_restart_and_ctrl_c_ends_only_the_looking(
    at_shell, small_recipe: Path, cluster
):
    shell = at_shell(small_recipe)
    assert shell("run", *DETACHED, "--stop-stage", "0")[0] == 0
    following = shell.start("logs", "-f")
    looked = shell.start("logs", "-f")
    assert any("making 3" in line for line in looked.process.stdout)
    looked.signal(signal.SIGINT)
    assert looked.finish()[0] == 130
    job = shell.job_id("prepare-1") or ""
    cluster.requeue(job, shell.until)
    assert (small_recipe / "data" / "saved").exists()
    shell.awaits("prepare", "restarting")
    shell.until(lambda: len(list((small_recipe / "data").glob("begun-*"))) == 2, "the second attempt")
    shell.lets_go()
    code, output = following.finish()
    assert code == 0, output
    assert output.count("making 3 in mode wait") == 2 and "stage 0 prepare: 3 utterances" in output
    assert (shell.states()["prepare"], shell("status")[1].splitlines()[2].split()[3]) == (("done", ""), "2")


def test_a_job_that_was_submitted_twice_all_the_same_runs_once(at_shell, small_recipe: Path, cluster):
    shell = at_shell(small_recipe)
    assert shell("run", *DETACHED, "--stop-stage", "0")[0] == 0
    shell.until(lambda: list((small_recipe / "data").glob("begun-*")), "the stage")
    cluster("sbatch", "--wait", str(shell.exp_dir / "jobs" / "prepare-1" / "job.sh"))
    logs = "".join(path.read_text() for path in (shell.exp_dir / "logs" / "prepare").glob("job-*.log"))
    assert f"prepare-1 was submitted twice, and is job {shell.job_id('prepare-1')}" in logs
    assert shell.states()["prepare"] == ("running", "")
    assert len(list((small_recipe / "data").glob("begun-*"))) == 1


def test_a_resumed_submission_is_followed_to_the_metrics(at_shell, template: Path):
    shell = at_shell(template)
    shell.submit_and_be_killed(3, "after", "launcher=slurm", "trainer.max_epochs=2")
    code, output = shell("resume")
    assert code == 0, output
    assert "test/accuracy = " in output.splitlines()[-1]
    assert [job.name for job in read_jobs(shell.exp_dir)] == [
        *("prepare-1", "collect_stats-1", "train-1", "validate-1")
    ]
    assert {state for state, _ in shell.states().values()} == {"done"}
    code, output = shell("resume")
    assert code == 0 and "nothing to resume" in output


def test_while_the_controller_is_away_status_says_so_and_shows_the_files(
    at_shell, small_recipe: Path, cluster
):
    shell = at_shell(small_recipe)
    assert shell("run", *DETACHED, "--stop-stage", "1")[0] == 0
    shell.until(lambda: list((small_recipe / "data").glob("begun-*")), "the stage")
    tokens = [job.token.encode() for job in read_jobs(shell.exp_dir)]
    saved = cluster.folder / "state" / "job_state"
    shell.until(
        lambda: saved.exists() and all(token in saved.read_bytes() for token in tokens),
        "the controller to have saved the jobs",
    )
    os.kill(cluster.pids()["slurmctld"], signal.SIGKILL)
    code, output = shell("status")
    assert code == 0
    assert "running" in output and output.splitlines()[-1].startswith("Slurm can't be asked (")
    assert shell("cancel")[0] == shell("resume")[0] == 2
    cluster.up()
    assert "can't be asked" not in shell("status")[1]
    assert shell.states()["collect_stats"] == ("queued", "after stage 0")
