"""What sites and users do to Slurm's commands, scripts and signals, on a real cluster."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

Until = Callable[[Callable[[], object], str], None]
STAGE_0 = ("--stop-stage", "0", "launcher=slurm")
WITHOUT_A_HANDLER = """
import signal

import making


def make(**arguments):
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # as some libraries do
    return making.make(**arguments)
"""


@pytest.fixture
def launch(cluster, start) -> Callable[..., Any]:
    """Start a command where Slurm is the test's own."""
    return lambda recipe, *words, **environment: start(
        recipe, *words, **{**cluster.environment, **environment}
    )


@pytest.fixture
def ahead_on_path(tmp_path: Path) -> Callable[..., dict[str, str]]:
    """Make programs of a site that hide Slurm's, each a few lines of shell; the environment with them."""

    def make(**scripts: str) -> dict[str, str]:
        folder = tmp_path / "site-bin"
        folder.mkdir(exist_ok=True)
        for name, script in scripts.items():
            (folder / name).write_text(f"#!/bin/bash\n{script}\n")
            (folder / name).chmod(0o755)
        return {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}

    return make


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("exit 0", "resources.prepare.setup: `exit 0` ended the script before the stage began"),
        ("exit 3", "resources.prepare.setup: `exit 3` ended with exit code 3"),
        (
            "exec true",
            "ended without a result, and Slurm says COMPLETED: does `setup` end the script",
        ),
    ],
)
def test_a_script_that_its_setup_ends_is_not_done(
    cluster, small_recipe: Path, launch, line: str, reason: str
):
    code, output = launch(small_recipe, *STAGE_0, f"resources.prepare.setup=[{line}]").finish()
    assert code == 1
    assert reason in output
    assert not (small_recipe / "data" / "train.jsonl").exists()


@pytest.mark.usefixtures("fresh_ranks")
def test_a_cancelled_job_whose_task_dies_of_the_signal_does_not_come_back(
    cluster, small_recipe: Path, launch, until: Until
):
    (small_recipe / "deadly.py").write_text(WITHOUT_A_HANDLER)
    config = small_recipe / "conf" / "config.yaml"
    config.write_text(config.read_text().replace("making.make", "deadly.make"))
    command = launch(small_recipe, *STAGE_0, "prepare.mode=wait")
    until(lambda: list((small_recipe / "data").glob("begun-*")), "the stage")
    (submission,) = (small_recipe / "exp" / "default" / "jobs").glob("*/submission.json")
    job = json.loads(submission.read_text())["job_id"]
    cluster("scancel", job)
    until(lambda: not cluster("squeue", "--noheader"), "the job to be over")
    code, output = command.finish()
    assert code == 1 and "was cancelled" in output, output
    assert [state.split()[0] for state in cluster.accounted(job)] == ["CANCELLED"]


def test_jobs_are_found_whatever_the_users_shell_filters_and_others_write(
    cluster, small_recipe: Path, start_on_slurm, launch, until: Until
):
    subprocess.run(
        [b"sbatch", b"--comment=caf\xe9", b"--output=/dev/null", b"--wrap", b"sleep 600"],
        env=cluster.environment,
        capture_output=True,
        check=True,
    )
    hidden = {"SQUEUE_STATES": "PENDING", "SQUEUE_FORMAT": "%i", "SQUEUE_SORT": "-i", "SACCT_FORMAT": "User"}
    command = launch(small_recipe, *STAGE_0, "prepare.mode=wait", **hidden)
    until(lambda: list((small_recipe / "data").glob("begun-*")), "the stage")
    code, output = start_on_slurm("status", small_recipe / "exp" / "default", "--json", **hidden).finish()
    (shown,) = json.loads(output)["runs"]
    assert code == 0 and shown["stages"][0]["state"] == "running", output
    (small_recipe / "data" / "go").touch()
    assert command.finish()[0] == 0


def test_a_running_job_that_squeue_hides_is_neither_gone_nor_submitted_again(
    cluster, small_recipe: Path, start_on_slurm, launch, until: Until, ahead_on_path
):
    command = launch(small_recipe, *STAGE_0, "--detach", "prepare.mode=wait")
    assert command.finish()[0] == 0
    exp_dir = small_recipe / "exp" / "default"
    until(lambda: list((small_recipe / "data").glob("begun-*")), "the stage")
    # A cache from before the job, and accounting that is behind.
    hidden = ahead_on_path(squeue="exit 0", sacct="exit 0")
    (shown,) = json.loads(start_on_slurm("status", exp_dir, "--json", **hidden).finish()[1])["runs"]
    assert shown["stages"][0]["state"] == "running"
    code, output = start_on_slurm("resume", exp_dir, "--detach", **hidden).finish()
    assert code == 0 and "nothing to submit, its jobs are under way" in output, output
    code, output = launch(small_recipe, *STAGE_0, **hidden).finish()
    assert code == 2 and "is in use by" in output, output
    code, output = start_on_slurm("cancel", exp_dir, "--wait", **hidden).finish()
    assert code == 0 and "cancelled job" in output, output
    assert len(list((exp_dir / "jobs").glob("*/submission.json"))) == 1
    assert not cluster("squeue", "--noheader")


def test_a_held_job_names_its_release_and_a_raised_time_limit_is_used(
    cluster, small_recipe: Path, launch, start_on_slurm, until: Until
):
    limit = ("resources.prepare.timeout_min=1", "resources.prepare.signal_delay_s=50")
    hold = "resources.prepare.additional_parameters={hold: true}"
    command = launch(small_recipe, *STAGE_0, "prepare.mode=wait", hold, *limit)
    exp_dir = small_recipe / "exp" / "default"
    until(lambda: list(exp_dir.glob("jobs/*/submission.json")), "the submission")
    job = json.loads(next(exp_dir.glob("jobs/*/submission.json")).read_text())["job_id"]
    code, shown = start_on_slurm("status", exp_dir).finish()
    assert "held" in shown.split() and f"JobHeldUser: `scontrol release {job}`" in shown, shown
    cluster("scontrol", "release", job)
    until(lambda: list((small_recipe / "data").glob("begun-*")), "the stage")
    cluster("scontrol", "update", f"jobid={job}", "timelimit=10")
    stop_at = json.loads(next(exp_dir.glob("attempts/*/begin.json")).read_text())["stop_at"]
    until(lambda: time.time() > stop_at + 2, "the time at which it would have stopped")
    (small_recipe / "data" / "go").touch()
    code, output = command.finish()
    assert code == 0 and f"job {job} held (JobHeldUser: `scontrol release {job}`)" in output, output
    assert len(list(exp_dir.glob("attempts/*"))) == 1


LIMITED = """
for word; do script=$word; done
last=$(sed -n 's/^#SBATCH --array=0-\\([0-9]*\\).*/\\1/p' "$script")
if [ $(( $(squeue --noheader --array | wc -l) + ${{last:-0}} + 1 )) -gt {limit} ]; then
    echo "sbatch: error: AssocMaxSubmitJobLimit" >&2
    echo "Batch job submission failed: Job violates accounting/QOS policy (job submit limit, user's size)" >&2
    exit 1
fi
exec {sbatch} "$@"
"""
"""sbatch of a user who may have `limit` jobs in the queue, as Slurm's accounting has it; also on nodes."""


@pytest.mark.parametrize(
    ("limit", "words"),
    [(1, ("--stop-stage", "1")), (0, ("--stop-stage", "1", "resources.prepare.launcher=local"))],
)
def test_a_chain_beyond_the_users_limit_is_refused_before_its_first_stage(
    cluster, small_recipe: Path, launch, ahead_on_path, limit: int, words: tuple[str, ...]
):
    limited = ahead_on_path(sbatch=LIMITED.format(limit=limit, sbatch=shutil.which("sbatch")))
    code, output = launch(small_recipe, *words, "launcher=slurm", **limited).finish()
    assert (code, output.count("\n")) == (2, 1) and "AssocMaxSubmitJobLimit" in output, output
    assert not list((small_recipe / "data").glob("begun-*")) and not cluster("squeue", "--noheader")


def test_a_sweep_beyond_the_users_limit_is_submitted_as_its_trials_end(sweeps, until: Until, ahead_on_path):
    limited = ahead_on_path(sbatch=LIMITED.format(limit=2, sbatch=shutil.which("sbatch")))
    manifest = sweeps.directory / "model.py"  # no manifest: every trial fails at once
    command = sweeps.start(
        *("run", "--recipe", sweeps.directory, "--multirun", "launcher=slurm", "--stage", "2"),
        *("--detach", "seed=1,2,3,4", "model.stats_file=x", "check_data=off", "--stop-stage", "2"),
        f"manifests={{train: {manifest}, valid: {manifest}, test: {manifest}}}",
        **limited,
    )
    code, output = command.finish()
    assert code == 0 and "waiting for room: 2 trials, submitted by trials that end" in output, output
    sweep = sweeps.sweep()
    until(lambda: len(list(sweep.glob("trials/*/jobs/*/end.json"))) == 4, "the trials")
    code, shown = sweeps.run("status", sweep)
    assert "4 trials: 4 failed" in shown and "waiting" not in shown, shown
    assert [len(list(path.glob("jobs/*"))) for path in (sweep / "trials").iterdir()] == [1] * 4
    assert not (sweep / "arrays" / "waiting.json").exists()


def test_trials_for_which_only_their_shared_stages_leave_no_room_are_submitted_when_these_are_done(
    sweeps, until: Until, ahead_on_path
):
    limited = ahead_on_path(sbatch=LIMITED.format(limit=2, sbatch=shutil.which("sbatch")))
    command = sweeps.start(
        *("run", "--recipe", sweeps.directory, "--multirun", "launcher=slurm", "--stop-stage", "2"),
        *("--detach", "seed=1,2", "trainer.max_epochs=1", "logger.tensorboard=null"),
        "prepare.sizes={train: 32, valid: 16, test: 16}",
        **limited,
    )
    code, output = command.finish()
    assert code == 0, output
    assert "waiting for room: 2 trials, submitted by the stages that they share" in output
    sweep = sweeps.sweep()
    until(lambda: len(list(sweep.glob("trials/*/jobs/*/end.json"))) == 2, "the trials")
    code, shown = sweeps.run("status", sweep)
    assert "2 trials: 2 done" in shown and "waiting" not in shown, shown
    assert [len(list(path.glob("jobs/*"))) for path in (sweep / "trials").iterdir()] == [1] * 2


def test_another_cluster_is_refused_before_anything_is_written(cluster, small_recipe: Path, launch):
    code, output = launch(small_recipe, *STAGE_0, SLURM_CLUSTERS="other").finish()
    assert code == 2 and output.count("\n") == 1, output
    assert "SLURM_CLUSTERS=other: jobs are submitted to this login node's own cluster only" in output
    assert not (small_recipe / "exp" / "default" / "jobs").exists()


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("resources.prepare.python=nothing_here", "nothing_here"),
        ("resources.prepare.srun_args=['--cpu-bind=nonsense']", "nonsense"),
    ],
)
def test_tasks_that_can_never_start_are_tried_once(
    cluster, small_recipe: Path, launch, override: str, reason: str
):
    code, output = launch(small_recipe, *STAGE_0, override).finish()
    assert code == 1 and "can't start its tasks: " in output and reason in output, output
    assert "starts again" not in output
    assert len(list((small_recipe / "exp" / "default" / "attempts").iterdir())) == 1


def test_a_wrong_option_of_srun_is_refused_before_anything_is_queued(cluster, small_recipe: Path, launch):
    wrong = "resources.prepare.srun_args=['--overlap','--distribution=x']"
    code, output = launch(small_recipe, *STAGE_0, wrong).finish()
    assert code == 2 and output.count("\n") == 1, output
    assert "resources.prepare.srun_args=" in output and "Invalid --distribution specification" in output
    assert not (small_recipe / "exp" / "default" / "jobs").exists()
