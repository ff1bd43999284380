"""`launch` on a real Slurm, from a fresh process, and its handle in another one."""

import subprocess
import sys
from pathlib import Path

import pytest
import submitit

from espnet3 import launch, load_run
from espnet3.launcher.submit.executor import BatchExecutor
from espnet3.launcher.submit.job_handle import JobFailed, JobHandle

pytestmark = pytest.mark.slow

PROMPT = """
import sys
import submitit
from espnet3 import launch

submitted = []
submit = submitit.SlurmExecutor._make_submission_command
def spy(self, path):
    submitted.append(type(self).__name__)
    return submit(self, path)
submitit.SlurmExecutor._make_submission_command = spy

run = launch(sys.argv[1], stages=(0, 1), launcher="slurm")
assert submitted == ["BatchExecutor"] * 2, submitted
assert all(isinstance(job, submitit.SlurmJob) for job in run.jobs)
assert "torch" not in sys.modules
print(run.directory)
"""
WAITING = """
import sys
from espnet3 import load_run

run = load_run(sys.argv[1])
rows = run.wait()
ended = [row.stage + "=" + row.state for row in rows]
print(*ended, *[job.state for job in run.jobs], "torch" in sys.modules)
"""


@pytest.fixture
def python(cluster):
    """Run a program in a fresh process on the cluster's login node; what it prints."""

    def python(program: str, *arguments: str | Path) -> str:
        done = subprocess.run(
            [sys.executable, "-c", program, *map(str, arguments)],
            env=cluster.environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return python


@pytest.fixture
def on_cluster(cluster, monkeypatch: pytest.MonkeyPatch):
    """This process asks the cluster, too."""
    for name in ("SLURM_CONF", "PYTHONPATH"):
        monkeypatch.setenv(name, cluster.environment[name])
    return cluster


def test_a_run_is_launched_at_a_prompt_and_waited_for_in_another_process(template: Path, python):
    assert issubclass(BatchExecutor, submitit.SlurmExecutor)
    exp_dir = python(PROMPT, template)
    assert exp_dir == str(template / "exp" / "default")
    ended = "prepare=done collect_stats=done COMPLETED COMPLETED False"
    assert python(WAITING, exp_dir) == ended


def test_a_run_is_cancelled_and_resumed_and_its_failure_raised(on_cluster, small_recipe: Path):
    hold = "resources.prepare.additional_parameters={hold: true}"
    run = launch(small_recipe, [hold], stages=(0, 0), launcher="slurm")
    (job,) = run.jobs
    assert isinstance(job, JobHandle) and job.state == "PENDING"
    run.cancel()
    assert [row.state for row in run.wait()] == ["cancelled"]
    load_run(run.directory).resume()
    (resumed,) = run.jobs
    assert resumed.job_id != job.job_id and resumed.state == "PENDING"
    run.cancel()
    assert [row.state for row in run.wait()] == ["cancelled"]
    fails = launch(small_recipe, ["prepare.mode=raise"], stages=(0, 0), launcher="slurm")
    with pytest.raises(JobFailed, match="no microphone"):
        fails.result()


def test_a_sweep_is_submitted_at_once_and_taken_up(on_cluster, template: Path):
    short = ["trainer.max_epochs=1", "logger.tensorboard=null", "tag=rates"]
    sizes = "prepare.sizes={train: 32, valid: 16, test: 16}"
    sweep = launch(template, ["optimizer.lr=1e-3,1e-2", sizes, *short], launcher="slurm", multirun=True)
    assert [row.state.state for row in sweep.status()] == ["queued", "queued"]
    assert all(isinstance(job, submitit.SlurmJob) for job in sweep.jobs) and len(sweep.jobs) == 4
    loaded = load_run(sweep.directory)
    assert [row.state.state for row in loaded.wait()] == ["done", "done"]
    best = loaded.best
    assert best is not None and best.metrics() in loaded.metrics().values()
