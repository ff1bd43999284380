"""Faults that clusters have, on a real one: whatever resumes ends with the weights of the undisturbed run."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from made_once import made_once

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
Until = Callable[[Callable[[], object], str], None]
ESPNET3 = (sys.executable, "-m", "espnet3", "run")
TRAIN = ("--stage", "2", "--stop-stage", "2", "+experiment=small")
TRAIN_AND_VALIDATE = ("--stage", "2", "--stop-stage", "3", "+experiment=small")
TRAINING = (
    *("trainer.max_epochs=3", "trainer.log_every_n_steps=1", "checkpoint.every_n_batches=1"),
    *("dataloader.train.iter_factory.batch_size=4", "resources.train.cpus_per_task=1"),
    *("resources.train.nodes=2", "resources.train.tasks_per_node=2", "logger.tensorboard=null"),
    "trainer.hang_timeout_s=null",  # the tests let ranks wait
)
BROKEN = """
import os
import time
from pathlib import Path
from lightning.pytorch import Callback

class FailsOnRank3(Callback):
    def on_train_batch_start(self, *_):
        if os.environ["RANK"] == "3":
            raise ValueError("rank three has no more ideas")

class WaitsForItsEnd(Callback):
    # the first attempts: each trains one batch
    def __init__(self, attempts):
        self.attempts = attempts
        self.trained = False

    def on_train_batch_start(self, trainer, *_):
        attempts = list(Path(trainer.default_root_dir, "attempts").glob("train-*"))
        asked = trainer.lightning_module.stop_requested
        while len(attempts) <= self.attempts and self.trained and not asked():
            time.sleep(0.1)
        self.trained = True

class WaitsForFile(Callback):
    # after its first batch
    def __init__(self, file):
        self.file = Path(file)
        self.trained = False

    def on_train_batch_start(self, *_):
        while self.trained and not self.file.exists():
            time.sleep(0.1)
        self.trained = True

class Deaf(Callback):
    def on_train_batch_start(self, *_):
        while True:
            time.sleep(1)
"""


WAITING = "+callbacks.waits={_target_: broken.WaitsForItsEnd, attempts: 1}"
"""Until the fault comes: the tests need no long training."""


class Recipe:
    """A copy of mini_digits/asr with a small corpus, trained on 2 nodes x 2 ranks of the cluster."""

    def __init__(self, cluster, directory: Path, start_on_slurm, until: Until) -> None:
        self.cluster, self.directory, self.until = cluster, directory, until
        self._start = start_on_slurm

    def train(self, tag: str, *overrides: str, stages: tuple[str, ...] = TRAIN):
        """Start a training, at least, on the cluster under `tag`."""
        words = ("run", "--recipe", self.directory, *stages, "launcher=slurm")
        return self._start(*words, *TRAINING, f"tag={tag}", *overrides)

    def exp(self, tag: str) -> Path:
        return self.directory / "exp" / tag

    def begun(self, tag: str, attempt: int = 1) -> None:
        """Wait until an attempt has left a checkpoint of its own."""
        begin = self.exp(tag) / "attempts" / f"train-{attempt}" / "begin.json"
        self.until(begin.exists, f"attempt {attempt} of {tag}")
        before = json.loads(begin.read_text())["started_at"] * 1e9
        self.until(lambda: self.newest(tag) > before, f"a checkpoint of attempt {attempt} of {tag}")

    def newest(self, tag: str) -> int:
        times = []
        for path in (self.exp(tag) / "checkpoints").glob("*.ckpt"):
            try:
                times.append(path.stat().st_mtime_ns)
            except OSError:
                continue
        return max(times, default=0)

    def job(self, tag: str, stage: str = "train") -> str:
        """Slurm's id of the newest job of a stage."""
        found: list[Path] = []
        self.until(
            lambda: found.extend((self.exp(tag) / "jobs").glob(f"{stage}-*/submission.json")) or found,
            "a job",
        )
        newest = max(found, key=lambda path: int(path.parent.name.rpartition("-")[2]))
        return str(json.loads(newest.read_text())["job_id"])

    def limit(self, job: str, rest_s: int) -> None:
        """Leave a running job so many seconds, and less than a minute more: limits are in minutes."""
        used = reversed(self.cluster("squeue", "-h", "-o", "%M", "-j", job).split(":"))
        elapsed_s = sum(int(number) * 60**power for power, number in enumerate(used))
        minutes = -(-(elapsed_s + rest_s) // 60)
        self.cluster("scontrol", "update", f"jobid={job}", f"timelimit={minutes}")

    def attempts(self, tag: str) -> list[dict]:
        """How each attempt of the training ended, in order; {} for one that could not say."""
        folders = sorted(
            (self.exp(tag) / "attempts").glob("train-*"), key=lambda path: int(path.name.rpartition("-")[2])
        )
        return [
            json.loads(p.read_text()) if (p := folder / "end.json").exists() else {} for folder in folders
        ]

    def begins(self, tag: str) -> list[dict]:
        """How each attempt of the training began, in order."""
        files = (self.exp(tag) / "attempts").glob("train-*/begin.json")
        return sorted((json.loads(path.read_text()) for path in files), key=lambda one: one["number"])

    def rank(self, tag: str, rank: int, attempt: int = 1) -> dict:
        return json.loads((self.exp(tag) / "attempts" / f"train-{attempt}" / f"rank-{rank}.json").read_text())

    def ran(self, tag: str, *states: str) -> None:
        """Wait until sacct, which may lag, says so of each start of the training's job."""
        self.until(lambda: self.cluster.accounted(self.job(tag)) == list(states), "sacct")

    def weights(self, tag: str) -> dict[str, torch.Tensor]:
        return torch.load(self.exp(tag) / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]

    def same_as_undisturbed(self, tag: str) -> None:
        """The final weights and the rows of metrics are those of the undisturbed run, bit for bit."""
        expected = self.weights("undisturbed")
        for name, value in self.weights(tag).items():
            assert torch.equal(value, expected[name]), name
        rows, undisturbed = (
            (self.exp(one) / "csv" / "metrics.csv").read_text() for one in (tag, "undisturbed")
        )
        assert rows == undisturbed


@pytest.fixture(scope="session")
def prepared(shared_by_workers: Path) -> Path:
    """The recipe with its corpus and statistics."""
    copy = shared_by_workers / "faults" / "egs" / "mini_digits"
    with made_once(copy.parents[1] / "prepared") as missing:
        if missing:
            shutil.rmtree(copy, ignore_errors=True)
            ignored = shutil.ignore_patterns("exp", "data", "__pycache__", "vocoder")
            shutil.copytree(ROOT / "egs" / "mini_digits", copy, ignore=ignored)
            (copy / "asr" / "broken.py").write_text(BROKEN)
            shutil.copy(ROOT / "tools" / "bench" / "hanging.py", copy / "asr")
            done = subprocess.run(
                [*ESPNET3, "--recipe", str(copy / "asr"), "--stop-stage", "1", "+experiment=small"],
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert done.returncode == 0, done.stdout + done.stderr
    return copy / "asr"


@pytest.fixture
def recipe(cluster, prepared: Path, start_on_slurm, until: Until) -> Recipe:
    """The recipe on the cluster, with an undisturbed run to compare with."""
    recipe = Recipe(cluster, prepared, start_on_slurm, until)
    with made_once(prepared.parents[2] / "undisturbed") as missing:
        if missing:
            shutil.rmtree(recipe.exp("undisturbed"), ignore_errors=True)
            code, output = recipe.train("undisturbed").finish()
            assert code == 0, output
    return recipe


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


@pytest.mark.usefixtures("fresh_ranks")
def test_a_node_that_dies_has_its_job_run_again_on_others(recipe: Recipe):
    command = recipe.train("node", WAITING)
    recipe.begun("node")
    victim = recipe.rank("node", 3)["node"]
    assert recipe.cluster.tool("kill-node", victim).returncode == 0
    code, output = command.finish()
    assert code == 0, output
    assert recipe.rank("node", 3, attempt=2)["node"] != victim
    recipe.until(lambda: recipe.cluster.accounted(recipe.job("node"))[-1:] == ["COMPLETED"], "sacct")
    recipe.same_as_undisturbed("node")


@pytest.mark.usefixtures("fresh_ranks")
def test_a_spare_takes_the_place_of_a_node_that_dies(recipe: Recipe):
    command = recipe.train("spare", WAITING, "resources.train.spare_nodes=1")
    recipe.begun("spare")
    victim, job = recipe.rank("spare", 3)["node"], recipe.job("spare")
    assert recipe.cluster.tool("kill-node", victim).returncode == 0
    code, output = command.finish()
    assert code == 0, output
    assert f"{victim} does not answer: goes on with 2 nodes, 0 spares left" in output
    first, second = recipe.begins("spare")
    assert {one["launched_by"]["slurm_job"] for one in (first, second)} == {f"{job}.0"}
    assert victim == first["nodes"][1] and first["nodes"][0] == second["nodes"][0]
    assert len(second["nodes"]) == 2 and victim not in second["nodes"]
    assert (ended := recipe.attempts("spare")[0])["node"] == victim, ended
    recipe.until(lambda: recipe.cluster.accounted(job)[-1:] == ["COMPLETED"], "sacct")
    recipe.same_as_undisturbed("spare")


@pytest.mark.usefixtures("fresh_ranks")
def test_without_a_spare_a_training_goes_on_with_the_nodes_that_are_left_where_it_may(recipe: Recipe):
    command = recipe.train("fewer", WAITING, "resources.train.min_nodes=1")
    recipe.begun("fewer")
    victim, job = recipe.rank("fewer", 3)["node"], recipe.job("fewer")
    assert recipe.cluster.tool("kill-node", victim).returncode == 0
    code, output = command.finish()
    assert code == 0, output
    assert f"{victim} does not answer, and no spare is left: goes on with 1 node instead of 2" in output
    first, second = recipe.begins("fewer")
    assert {one["launched_by"]["slurm_job"] for one in (first, second)} == {f"{job}.0"}
    assert (second["nodes"], second["world_size"]) == (first["nodes"][:1], 2)
    log = recipe.exp("fewer") / "logs" / "train" / "attempt-2" / "rank-0.log"
    assert "trained on 4 ranks before, on 2 from now on" in log.read_text()


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
