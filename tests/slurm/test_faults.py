"""Faults that clusters have, on a real one: whatever resumes ends with the weights of the undisturbed run."""

import json
import os
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from disturbed_recipe import TRAIN_AND_VALIDATE, WAITING, Recipe, Until

pytestmark = pytest.mark.slow


@pytest.mark.usefixtures("fresh_ranks")
def test_killed_ranks_end_all_ranks_and_the_training_goes_on_with_the_nodes_it_has(recipe: Recipe):
    command = recipe.train("killed", WAITING.replace("1", "2"), "resources.train.max_restarts=1")
    for attempt, rank in ((1, 2), (2, 0)):
        recipe.begun("killed", attempt)
        os.kill(recipe.rank("killed", rank, attempt)["process"]["pid"], signal.SIGKILL)
    code, output = command.finish()
    assert code == 0, output
    first, second, last = recipe.attempts("killed")
    assert [(one["outcome"], one["restarts"]) for one in (first, second)] == [("killed", True)] * 2
    assert first["reason"].startswith("rank 2 was killed on node")
    assert last["outcome"] == "done"
    assert output.count("starts again on the same nodes: rank") == 2
    job = recipe.job("killed")
    files = recipe.exp("killed").glob("attempts/train-*/begin.json")
    begun = [json.loads(path.read_text()) for path in files]
    assert {one["launched_by"]["slurm_job"] for one in begun} == {f"{job}.0"}
    assert len({tuple(one["nodes"]) for one in begun}) == 1
    recipe.until(lambda: recipe.cluster.accounted(job) == ["COMPLETED"], "sacct")
    recipe.same_as_undisturbed("killed")


@pytest.mark.usefixtures("fresh_ranks")
def test_a_rank_that_hangs_is_named_and_the_training_goes_on_with_the_nodes_it_has(
    recipe: Recipe, tmp_path: Path
):
    hangs = {"stop 3": "rank 3 on node2 has been stopped (SIGSTOP)", "gil 1": "rank 1 on node1 has been in"}
    for attempt, order in enumerate(hangs, start=1):
        (tmp_path / f"attempt-{attempt}").write_text(order)
    code, output = recipe.train(
        *("hung", f"+callbacks.hangs={{_target_: hanging.Hangs, folder: {tmp_path}}}"),
        "trainer.hang_timeout_s=15",
    ).finish()
    assert code == 0, output
    *hung, last = recipe.attempts("hung")
    for number, (result, (order, said)) in enumerate(zip(hung, hangs.items(), strict=True), start=1):
        assert (result["outcome"], result["restarts"], result["rank"]) == ("killed", True, int(order[-1]))
        assert result["reason"].startswith(f"hung: {said}"), result
        text = (recipe.exp("hung") / "logs" / "train" / f"attempt-{number}" / "hang.txt").read_text()
        assert said in text and "in agree_and_read" in text
        assert f"starts again on the same nodes: hung: {said}" in output
    assert last["outcome"] == "done"
    recipe.same_as_undisturbed("hung")


def test_five_time_limits_in_a_row_are_no_failure_with_one_restart_allowed(recipe: Recipe):
    command = recipe.train(
        "limits", "resources.train.timeout_min=60", "resources.train.signal_delay_s=130",
        "resources.train.max_restarts=1", WAITING.replace("1", "5"),
        stages=TRAIN_AND_VALIDATE,
    )  # fmt: skip
    job = recipe.job("limits")
    for number in range(1, 6):
        # Once it trains the limit comes so near that Slurm's signal is due: however slow the machine is.
        recipe.begun("limits", number)
        recipe.limit(job, rest_s=65)
        end = recipe.exp("limits") / "attempts" / f"train-{number}" / "end.json"
        recipe.until(end.exists, f"{number} time limits")
        recipe.until(
            lambda: recipe.cluster("squeue", "-h", "-o", "%T", "-j", job) == "PENDING",
            f"start {number + 1}",
        )
        recipe.cluster("scontrol", "update", f"jobid={job}", "timelimit=60")  # enough for the rest
    code, output = command.finish()
    assert code == 0, output
    attempts = recipe.attempts("limits")
    assert len(attempts) == 6, output
    assert [one["reason"] for one in attempts[:5]] == ["SIGUSR2"] * 5
    assert all(one["outcome"] == "stopped" for one in attempts[:-1])
    recipe.until(lambda: recipe.cluster.accounted(job)[-1:] == ["COMPLETED"], "sacct")
    assert "stage 3 validate" in output
    recipe.same_as_undisturbed("limits")


def test_a_preempted_job_saves_within_its_grace_and_slurm_starts_it_again(recipe: Recipe):
    recipe.cluster("scontrol", "update", "partitionname=normal", "gracetime=30")
    try:
        command = recipe.train("graced", WAITING)
        recipe.begun("graced")
        urgent(recipe)
        code, output = command.finish()
    finally:
        recipe.cluster("scontrol", "update", "partitionname=normal", "gracetime=0")
    assert code == 0, output
    first = recipe.attempts("graced")[0]
    assert (first["outcome"], first["reason"], first["restarts"]) == ("stopped", "SIGTERM", False)
    recipe.ran("graced", "PREEMPTED", "COMPLETED")
    recipe.same_as_undisturbed("graced")


@pytest.mark.usefixtures("fresh_ranks")
def test_a_job_preempted_without_grace_continues_from_its_newest_checkpoint(recipe: Recipe):
    command = recipe.train("preempted", WAITING, "resources.train.max_restarts=0")
    recipe.begun("preempted")
    urgent(recipe)
    code, output = command.finish()
    assert code == 0, output
    recipe.ran("preempted", "PREEMPTED", "COMPLETED")
    recipe.same_as_undisturbed("preempted")


def urgent(recipe: Recipe) -> None:
    """Take the whole cluster for a moment."""
    recipe.cluster.submit("true", "--wait", "--partition=urgent", "-N4", "--exclusive", "--output=/dev/null")


def test_a_cancelled_job_saves_and_stays_cancelled_with_the_stages_behind_it(recipe: Recipe):
    command = recipe.train("cancelled", WAITING, stages=TRAIN_AND_VALIDATE)
    recipe.begun("cancelled")
    train, validate = recipe.job("cancelled"), recipe.job("cancelled", "validate")
    before = recipe.newest("cancelled")
    recipe.cluster("scancel", train)
    code, output = command.finish()
    assert code == 75, output
    assert "was cancelled" in output
    assert recipe.newest("cancelled") > before
    assert recipe.attempts("cancelled")[0]["outcome"] == "stopped"
    for job in (train, validate):
        recipe.until(
            lambda job=job: [s.split()[0] for s in recipe.cluster.accounted(job)] == ["CANCELLED"], "sacct"
        )
    code, output = recipe.train("cancelled", WAITING).finish()  # the same command continues it
    assert code == 0, output
    recipe.same_as_undisturbed("cancelled")


def test_an_exception_on_one_rank_fails_the_job_at_once_and_nothing_restarts(recipe: Recipe):
    fails = "+callbacks.fails={_target_: broken.FailsOnRank3}"
    code, output = recipe.train("broken", fails, stages=TRAIN_AND_VALIDATE).finish()
    assert code == 1, output
    (only,) = recipe.attempts("broken")
    assert only["outcome"] == "failed" and not only["restarts"]
    assert only["reason"] == "rank 3: ValueError: rank three has no more ideas"
    log = (recipe.exp("broken") / "logs" / "train" / f"job-{recipe.job('broken')}.log").read_text()
    assert log.index("rank three has no more ideas") < log.index("Traceback")
    assert log.count("Traceback") == 1
    recipe.until(lambda: recipe.cluster.accounted(recipe.job("broken")) == ["FAILED"], "sacct")
    validate = recipe.job("broken", "validate")
    recipe.until(
        lambda: [state.split()[0] for state in recipe.cluster.accounted(validate)] == ["CANCELLED"], "sacct"
    )


@pytest.mark.usefixtures("fresh_ranks")
def test_a_stage_that_does_not_hear_is_ended_ahead_of_the_time_limit_and_gives_up(recipe: Recipe):
    command = recipe.train(
        "deaf", "+callbacks.deaf={_target_: broken.Deaf}", "resources.train.timeout_min=1",
        "resources.train.signal_delay_s=50", "resources.train.max_restarts=0",
    )  # fmt: skip
    code, output = command.finish()
    assert code == 75, output
    (only,) = recipe.attempts("deaf")
    assert (only["outcome"], only["restarts"]) == ("stopped", False)
    assert "left no newer checkpoint, and max_restarts=0" in output


def test_a_job_that_the_administrator_requeues_or_holds_resumes(recipe: Recipe):
    command = recipe.train("requeued", WAITING)
    recipe.begun("requeued")
    job = recipe.job("requeued")
    recipe.cluster("scontrol", "requeuehold", job)
    assert any("held" in line for line in command.process.stdout)  # reads until the command shows it
    recipe.cluster("scontrol", "release", job)
    code, output = command.finish()
    assert code == 0, output
    recipe.same_as_undisturbed("requeued")


def test_a_controller_that_restarts_does_nothing_to_the_run(recipe: Recipe, tmp_path: Path):
    go = tmp_path / "go"
    command = recipe.train("controller", f"+callbacks.waits={{_target_: broken.WaitsForFile, file: {go}}}")
    recipe.begun("controller")
    # A job that is not saved yet, which takes a few seconds, is lost with the controller.
    saved, before = recipe.cluster.folder / "state" / "job_state", recipe.newest("controller")
    recipe.until(lambda: saved.stat().st_mtime_ns > before, "the controller to save its state")
    pid = recipe.cluster.pids()["slurmctld"]
    os.kill(pid, signal.SIGKILL)
    go.touch()
    recipe.until(lambda: recipe.newest("controller") > before, "a checkpoint without a controller")
    recipe.cluster.up()
    code, output = command.finish()
    assert code == 0, output
    assert len(recipe.attempts("controller")) == 1
    recipe.same_as_undisturbed("controller")


def test_a_controller_that_is_down_at_submission_is_waited_for(recipe: Recipe):
    os.kill(recipe.cluster.pids()["slurmctld"], signal.SIGKILL)
    command = recipe.train("away")
    said = command.process.stdout.readline()
    assert "Slurm is away" in said and "trying again" in said
    recipe.cluster.up()
    code, output = command.finish()
    assert code == 0, output
    names = recipe.cluster("sacct", "-X", "-n", "-P", "-S", "now-1hour", "-o", "JobName%50").split()
    assert names.count("asr.away.2-train") == 1
    recipe.same_as_undisturbed("away")


def test_a_full_disk_is_said_and_leaves_the_earlier_checkpoint_intact(
    recipe: Recipe, tmp_path: Path, until: Until
):
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", disk], check=True)
    try:
        command = recipe.train("full", f"exp_dir={disk}/full")
        checkpoints = disk / "full" / "checkpoints"
        until(lambda: list(checkpoints.glob("epoch*.ckpt")), "a checkpoint")
        with (disk / "ballast").open("wb", buffering=0) as ballast, suppress(OSError):
            while True:
                ballast.write(b"0" * 4096)
        code, output = command.finish()
        assert code == 1, output
        assert "no space left" in output.lower() or "not enough space" in output.lower(), output
        intact = sorted(checkpoints.glob("epoch*.ckpt"))
        assert torch.load(intact[0], weights_only=True)["state_dict"]
        (disk / "ballast").unlink()
        code, output = recipe.train("full", f"exp_dir={disk}/full").finish()
        assert code == 0, output
        shutil.copytree(disk / "full", recipe.exp("full"), ignore=shutil.ignore_patterns("*.sock"))
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)
    recipe.same_as_undisturbed("full")
