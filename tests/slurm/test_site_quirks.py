"""What sites and users do to Slurm's commands, scripts and signals, on a real cluster."""

import json
import subprocess
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


def test_another_cluster_is_refused_before_anything_is_written(cluster, small_recipe: Path, launch):
    code, output = launch(small_recipe, *STAGE_0, SLURM_CLUSTERS="other").finish()
    assert code == 2 and output.count("\n") == 1, output
    assert "SLURM_CLUSTERS=other: jobs are submitted to this login node's own cluster only" in output
    assert not (small_recipe / "exp" / "default" / "jobs").exists()
