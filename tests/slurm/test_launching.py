"""Stages as Slurm jobs on a real cluster: chained, followed, detached, skipped, side by side on one node."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from espnet3.rundir.records.job import read_job_id, read_jobs

pytestmark = pytest.mark.slow

Until = Callable[[Callable[[], object], str], None]
SLURM = ("launcher=slurm", "trainer.max_epochs=2")
TWO_NODES = ("resources.train.nodes=2", "resources.train.gpus_per_node=2", "trainer.accelerator=cpu")


@pytest.fixture
def launch(start_on_slurm) -> Callable[..., Any]:
    """Start `espnet3 run` of a recipe against the cluster."""
    return lambda recipe, *arguments: start_on_slurm("run", "--recipe", recipe, *arguments)


def job_ids(exp_dir: Path) -> list[str]:
    """Slurm's ids of a run directory's jobs, in the order they were submitted."""
    return [read_job_id(exp_dir / "jobs" / job.name) or "" for job in read_jobs(exp_dir)]


def test_every_stage_is_one_completed_job_and_the_command_ends_with_the_metrics(
    cluster, template: Path, launch, until: Until
):
    code, plan = launch(template, "--dry-run", *SLURM, *TWO_NODES).finish()
    assert code == 0 and not (template / "exp").exists()
    code, output = launch(template, *SLURM, *TWO_NODES).finish()
    assert code == 0, output
    assert "ranks: 4 on 2 nodes" in output
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

    code, output = launch(template, *SLURM, *TWO_NODES).finish()
    assert code == 0, output
    assert output.count("skipped, unchanged") == 4
    assert job_ids(template / "exp" / "default") == ids


def test_a_detached_run_goes_on_alone_and_holds_its_run_directory(
    cluster, template: Path, launch, until: Until
):
    cluster("scontrol", "update", "partitionname=normal", "state=down")  # so that the jobs wait
    try:
        code, output = launch(template, *SLURM, "--detach").finish()
        assert code == 0, output
        ids = job_ids(template / "exp" / "default")
        assert f"queued: {ids[0]} (prepare)" in output and "espnet3 logs -f" in output
        code, output = launch(template, *SLURM).finish()
        assert code == 2
        assert f"in use by Slurm job {ids[0]} (prepare, PENDING)" in output
        code, output = launch(template, "launcher=local").finish()
        assert code == 2 and f"in use by Slurm job {ids[0]}" in output
    finally:
        cluster("scontrol", "update", "partitionname=normal", "state=up")
    until(lambda: [cluster.accounted(job) for job in ids] == [["COMPLETED"]] * 4, "the jobs")
    assert (template / "exp" / "default" / "validate" / "metrics.json").exists()


def test_ctrl_c_detaches_and_cancels_nothing(cluster, template: Path, launch, until: Until):
    command = launch(template, *SLURM)
    first = next(line for line in command.process.stdout if "RUNNING" in line)
    command.interrupt_terminal()
    code, rest = command.finish()
    assert code == 130, first + rest
    assert "detached: the jobs go on" in rest
    ids = job_ids(template / "exp" / "default")
    until(lambda: [cluster.accounted(job) for job in ids] == [["COMPLETED"]] * 4, "the jobs")


def test_two_trainings_of_two_ranks_share_a_node(cluster, template: Path, launch):
    assert launch(template, "--stop-stage", "1").finish()[0] == 0
    options = (*SLURM, "--stage", "2", "--stop-stage", "2", "resources.train.tasks_per_node=2")
    where = "resources.train.additional_parameters={nodelist: node1}"
    commands = [launch(template, *options, where, f"tag=side{number}") for number in range(2)]
    for command in commands:
        code, output = command.finish()
        assert code == 0, output


def test_stages_may_run_here_and_there(cluster, template: Path, launch):
    code, output = launch(template, *SLURM, "resources.prepare.launcher=local", "--detach").finish()
    assert code == 0, output
    assert [job.stage for job in read_jobs(template / "exp" / "default")] == [
        "collect_stats",
        "train",
        "validate",
    ]
    code, output = launch(
        template, *SLURM, "resources.validate.launcher=local", "--detach", "tag=no"
    ).finish()
    assert code == 2
    assert "--detach: stage 3 validate runs here" in output


@pytest.mark.usefixtures("fresh_ranks")
def test_a_cancelled_job_ends_when_its_tasks_have_saved_and_does_not_wait_to_be_killed(
    cluster, small_recipe: Path, launch, until: Until
):
    command = launch(small_recipe, "--stop-stage", "0", "launcher=slurm", "prepare.mode=wait")
    until(lambda: list((small_recipe / "data").glob("begun-*")), "the stage")
    job = job_ids(small_recipe / "exp" / "default")[0]
    cluster("scancel", job)
    code, output = command.finish()
    assert code == 75 and (small_recipe / "data" / "saved").exists(), output
    shown = ("sacct", "--noheader", "--parsable2", "--format=ExitCode", "-j", f"{job}.batch")
    until(lambda: cluster(*shown) == "75:0", "the batch process to end by itself")
