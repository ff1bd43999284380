"""Handles of jobs on a real Slurm, from processes that did not submit them."""

import subprocess
import sys
from pathlib import Path

import pytest

from espnet3.launcher.submit.job_handle import JobHandle, load_jobs

pytestmark = pytest.mark.slow

PROGRAM = """
import sys
from espnet3.launcher.submit.job_handle import load_jobs
[job] = load_jobs(sys.argv[1])
print(job.job_id, job.exception(), sorted(job.result()), job.state, "torch" in sys.modules)
"""
STAGE_0 = ("--stage", "0", "--stop-stage", "0", "launcher=slurm", "--detach")


@pytest.fixture
def submit(cluster, run, small_recipe: Path, monkeypatch: pytest.MonkeyPatch):
    """Submit stage 0 and leave; the handle of its job."""
    monkeypatch.setenv("SLURM_CONF", cluster.environment["SLURM_CONF"])

    def submit(*arguments: str) -> JobHandle:
        code, output = run(small_recipe, *STAGE_0, *arguments, **cluster.environment)
        assert code == 0, output
        (job,) = load_jobs(small_recipe / "exp" / "default")
        return job

    return submit


def test_a_job_is_waited_for_by_another_process(cluster, submit):
    job = submit()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(job.exp_dir)],
        env=cluster.environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    job_id, error, *_, torch = done.stdout.split()
    assert (job_id, error, torch) == (job.job_id, "None", "False")
    assert job.done() and "3 utterances in" in (job.stdout() or "")
    shown = cluster("scontrol", "--oneliner", "show", "job", job.job_id)
    assert f"Command={job.paths.submission_file}" in shown and "WCKey" not in shown


def test_a_job_that_fails_or_is_cancelled_raises_why(submit, small_recipe: Path):
    waits = submit("resources.prepare.additional_parameters={hold: true}")
    assert (waits.state, waits.done()) == ("PENDING", False)
    waits.cancel()
    error = waits.exception()
    assert error is not None and (error.state, error.traceback) == ("cancelled", "")

    (small_recipe / "making.py").write_text("def make(**_):\n    raise ValueError('no such corpus')\n")
    fails = submit()
    error = fails.exception()
    assert error is not None and (error.state, error.rank) == ("failed", 0)
    assert error.traceback.rstrip().endswith("ValueError: no such corpus")
    assert fails.paths.stdout.exists() and error.log is not None and error.log.exists()
