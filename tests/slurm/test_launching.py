"""Stages as Slurm jobs on a real cluster: chained, followed, detached, skipped, side by side on one node."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from espnet3.rundir.job import read_job_id, read_jobs

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
Until = Callable[[Callable[[], object], str], None]
SLURM = ("launcher=slurm", "trainer.max_epochs=2")
TWO_NODES = ("resources.train.nodes=2", "resources.train.gpus_per_node=2", "trainer.accelerator=cpu")


@pytest.fixture
def launch(cluster) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Start `espnet3 run` against the cluster; it is ended with the test."""
    started: list[subprocess.Popen[str]] = []

    def begin(recipe: Path, *arguments: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-m", "espnet3", "run", "--recipe", str(recipe), *arguments],
            env={**cluster.environment, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def finish(process: "subprocess.Popen[str]") -> tuple[int, str]:
    output, _ = process.communicate(timeout=600)
    return process.returncode, output


def job_ids(exp_dir: Path) -> list[str]:
    """Slurm's ids of a run directory's jobs, in the order they were submitted."""
    return [read_job_id(exp_dir / "jobs" / job.name) or "" for job in read_jobs(exp_dir)]


def test_every_stage_is_one_completed_job_and_the_command_ends_with_the_metrics(
    cluster, template: Path, launch, until: Until
):
    code, plan = finish(launch(template, "--dry-run", *SLURM, *TWO_NODES))
    assert code == 0 and not (template / "exp").exists()
    code, output = finish(launch(template, *SLURM, *TWO_NODES))
    assert code == 0, output
    assert "ranks: 4 on 2 node(s)" in output
    assert "test/accuracy = " in output.splitlines()[-1]
    ids = job_ids(template / "exp" / "default")
    assert len(ids) == 4
    until(lambda: [cluster.accounted(job) for job in ids] == [["COMPLETED"]] * 4, "sacct")
    for job, after in zip(read_jobs(template / "exp" / "default"), ["", *ids], strict=False):
        script = (template / "exp" / "default" / "jobs" / job.name / "job.sh").read_text()
        waits = f"afterok:{after}" in script and "--kill-on-invalid-dep=yes" in script
        assert waits or not after
        assert job.token in script
        shown = script.replace(job.token, "espnet3:TOKEN")
        shown = shown.replace(f"afterok:{after}", f"afterok:JOB-ID-OF-{job.after}")
        assert all(f"    | {line}".rstrip() in plan for line in shown.splitlines())
        assert (template / "exp" / "default" / "jobs" / job.name).stat().st_mode & 0o777 == 0o700

    code, output = finish(launch(template, *SLURM, *TWO_NODES))
    assert code == 0, output
    assert output.count("skipped, unchanged") == 4
    assert job_ids(template / "exp" / "default") == ids


def test_a_detached_run_goes_on_alone_and_holds_its_run_directory(
    cluster, template: Path, launch, until: Until
):
    cluster("scontrol", "update", "partitionname=normal", "state=down")  # so that the jobs wait
    try:
        code, output = finish(launch(template, *SLURM, "--detach"))
        assert code == 0, output
        ids = job_ids(template / "exp" / "default")
        assert f"queued: {ids[0]} (prepare)" in output and "espnet3 logs -f" in output
        code, output = finish(launch(template, *SLURM))
        assert code == 2
        assert f"held by Slurm job {ids[0]} (prepare, PENDING)" in output
        code, output = finish(launch(template, "launcher=local"))
        assert code == 2 and f"held by Slurm job {ids[0]}" in output
    finally:
        cluster("scontrol", "update", "partitionname=normal", "state=up")
    until(lambda: [cluster.accounted(job) for job in ids] == [["COMPLETED"]] * 4, "the jobs")
    assert (template / "exp" / "default" / "validate" / "metrics.json").exists()


def test_ctrl_c_detaches_and_cancels_nothing(cluster, template: Path, launch, until: Until):
    command = launch(template, *SLURM)
    first = next(line for line in command.stdout if "RUNNING" in line)
    os.killpg(command.pid, signal.SIGINT)
    code, rest = finish(command)
    assert code == 130, first + rest
    assert "detached: the jobs go on" in rest
    ids = job_ids(template / "exp" / "default")
    until(lambda: [cluster.accounted(job) for job in ids] == [["COMPLETED"]] * 4, "the jobs")


def test_two_trainings_of_two_ranks_share_a_node(cluster, template: Path, launch):
    assert finish(launch(template, "--stop-stage", "1"))[0] == 0
    options = (*SLURM, "--stage", "2", "--stop-stage", "2", "resources.train.tasks_per_node=2")
    where = "resources.train.additional_parameters={nodelist: node1}"
    commands = [launch(template, *options, where, f"tag=side{number}") for number in range(2)]
    for command in commands:
        code, output = finish(command)
        assert code == 0, output


def test_stages_may_run_here_and_there(cluster, template: Path, launch):
    code, output = finish(launch(template, *SLURM, "resources.prepare.launcher=local", "--detach"))
    assert code == 0, output
    assert [job.stage for job in read_jobs(template / "exp" / "default")] == [
        "collect_stats",
        "train",
        "validate",
    ]
    code, output = finish(launch(template, *SLURM, "resources.validate.launcher=local", "--detach", "tag=no"))
    assert code == 2
    assert "--detach: stage 3 validate runs here" in output


def test_a_cancelled_job_ends_when_its_tasks_have_saved_and_does_not_wait_to_be_killed(
    cluster, small_recipe: Path, launch, until: Until
):
    command = launch(small_recipe, "--stop-stage", "0", "launcher=slurm", "prepare.mode=wait")
    until(lambda: list((small_recipe / "data").glob("begun-*")), "the stage")
    job = job_ids(small_recipe / "exp" / "default")[0]
    cluster("scancel", job)
    code, output = finish(command)
    assert code == 75 and (small_recipe / "data" / "saved").exists(), output
    shown = ("sacct", "--noheader", "--parsable2", "--format=ExitCode", "-j", f"{job}.batch")
    until(lambda: cluster(*shown) == "75:0", "the batch process to end by itself")
