"""Nodes that end attempts, and memory that runs out, on a real cluster: jobs ask for others, and for more."""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from espnet3.status.snapshot import QueueSnapshot
from espnet3.sweep.show.results import read_sweep

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("fresh_ranks")]

Until = Callable[[Callable[[], object], str], None]
SHORT = ("launcher=slurm", "trainer.max_epochs=1", "logger.tensorboard=null")
SMALL = "prepare.sizes={train: 32, valid: 16, test: 16}"
BAD_NODE = """#!/bin/sh
# On a bad node every process of the job's own dies.
case $SLURMD_NODENAME in {node}) kill -KILL $$ ;; esac
exec "$@"
"""
EATS = """
import os
import signal
from pathlib import Path
from lightning.pytorch import Callback

class Eats(Callback):
    # what slurmstepd prints at such an end, which no control groups of this machine bring about
    def on_train_batch_start(self, trainer, *_):
        if trainer.global_step == 1 and int(os.environ["SLURM_MEM_PER_NODE"]) < 250:
            attempt = max(Path(trainer.default_root_dir, "attempts").glob("train-*"))
            said = "slurmstepd: error: Detected 1 oom_kill event in StepId=1.0. Some of the step tasks have"
            (attempt / "early-0.log").open("a").write(said + " been OOM Killed.\\n")
            os.kill(os.getpid(), signal.SIGKILL)
"""


def test_one_bad_node_of_four_keeps_no_trial_of_a_sweep_from_its_end(sweeps, tmp_path: Path):
    wrapper = tmp_path / "python.sh"
    wrapper.write_text(BAD_NODE.format(node="node1"))  # to which Slurm gives jobs first
    wrapper.chmod(0o755)
    seeds = ",".join(map(str, range(12)))
    code, output = sweeps.run(
        *("run", "--recipe", sweeps.directory, "--multirun", *SHORT, SMALL, f"seed={seeds}"),
        *(f"resources.{stage}.python={wrapper} {sys.executable}" for stage in ("train", "validate")),
        "sweep.trials_per_job=3",
    )
    assert code == 0, output
    trials = read_sweep(sweeps.sweep(), QueueSnapshot()).trials
    assert [trial.state for trial in trials] == ["done"] * 12
    ends = [json.loads(path.read_text()) for path in sweeps.sweep().glob("trials/*/attempts/*/end.json")]
    blamed = [end["node"] for end in ends if end["outcome"] != "done"]
    assert len(blamed) >= 2 and set(blamed) == {"node1"}
    array = json.loads((sweeps.sweep() / "arrays" / "1" / "submission.json").read_text())["job_id"]
    logs = "".join(path.read_text() for path in sweeps.sweep().glob("trials/*/logs/*/job-*.log"))
    assert re.search(r"leaves out node1, which has ended \d+ attempts", logs)
    assert "ExcNodeList=node1" in sweeps.cluster("scontrol", "show", "job", array).split()


def test_a_job_that_ran_out_of_memory_starts_again_with_more(sweeps, until: Until):
    (sweeps.directory / "eating.py").write_text(EATS)
    words = ("--recipe", sweeps.directory, "--stop-stage", "2", *SHORT, SMALL)
    code, output = sweeps.run(
        *("run", *words, "+callbacks.eats={_target_: eating.Eats}", "checkpoint.every_n_batches=1"),
        *("resources.train.mem_gb=0.125", "resources.train.max_mem_gb=0.27"),
    )
    assert code == 0, output
    run = sweeps.directory / "exp" / "default"
    (job,) = run.glob("jobs/train-*/submission.json")
    job_id = json.loads(job.read_text())["job_id"]
    log = (run / "logs" / "train" / f"job-{job_id}.log").read_text()
    assert "asks for 0.188 GB of memory instead of 0.125 GB" in log
    assert "asks for 0.27 GB of memory instead of 0.188 GB" in log
    shown = sweeps.cluster("scontrol", "--oneliner", "show", "job", job_id)
    assert "MinMemoryNode=276M" in shown and "Restarts=2" in shown
