"""The batch script and the srun command are what the resources say, word for word."""

import sys
from pathlib import Path

from espnet3.launcher.start.step import TASK
from espnet3.launcher.submit.request import JobRequest
from espnet3.resources import Resources
from espnet3.slurm.srun import srun_command

EVERYTHING = Resources(
    nodes=2,
    tasks_per_node=4,
    gpus_per_node=4,
    cpus_per_task=8,
    mem_gb=63.5,
    timeout_min=90,
    signal_delay_s=120,
    partition="gpu",
    account="speech",
    qos="low",
    constraint="a100",
    setup=("module load cuda", "ulimit -n 4096"),
    python="apptainer exec --nv 'my image.sif' python",
    srun_args=("--cpu-bind=cores",),
    additional_parameters={"reservation": "spring", "exclude": "node[1-2]", "exclusive": True},
)
SCRIPT = f"""\
#!/bin/bash

# Parameters
#SBATCH --account=speech
#SBATCH --comment=espnet3:abc-1
#SBATCH --constraint=a100
#SBATCH --cpus-per-task=8
#SBATCH --dependency=afterok:11:12
#SBATCH --exclude='node[1-2]'
#SBATCH --exclusive
#SBATCH --gpus-per-node=4
#SBATCH --job-name=asr.default.2-train
#SBATCH --kill-on-invalid-dep=yes
#SBATCH --mem=65024M
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --open-mode=append
#SBATCH --output=/exp/logs/job-%j.log
#SBATCH --partition=gpu
#SBATCH --qos=low
#SBATCH --requeue
#SBATCH --reservation=spring
#SBATCH --signal=USR2@120
#SBATCH --time=90

# setup
trap : TERM
module load cuda
ulimit -n 4096

# command
export SUBMITIT_EXECUTOR=slurm
{sys.executable} -u -m espnet3.launcher.batch.run_job '/exp/my jobs/train-1'
"""


def test_a_script_holds_every_resource():
    request = JobRequest(
        EVERYTHING,
        Path("/exp/my jobs/train-1"),
        name="asr.default.2-train",
        token="espnet3:abc-1",
        output=Path("/exp/logs/job-%j.log"),
        after=["11", "12"],
    )
    assert request.script == SCRIPT


def test_a_script_leaves_out_what_is_not_asked_for():
    script = JobRequest(Resources(), Path("/j"), name="n", token="t", output=Path("/o")).script
    for word in ("gpus", "mem", "partition", "dependency", "kill-on-invalid-dep", "wckey"):
        assert f"--{word}" not in script


def test_srun_starts_every_rank_with_its_cores_and_ends_all_with_the_first_that_fails():
    command = srun_command(
        EVERYTHING, Path("/exp/attempts/train-1"), Path("/exp/early-%t.log"), program=TASK, nodes=["n1", "n7"]
    )
    assert command == [
        *("srun", "--kill-on-bad-exit=1", "--job-name=train-1"),
        *("--nodes=2", "--ntasks=8", "--ntasks-per-node=4", "--nodelist=n1,n7"),
        *("--cpus-per-task=8", "--gpus-per-node=4"),
        *(
            "--unbuffered",
            "--output=/exp/early-%t.log",
            "--open-mode=append",
            "--input=none",
            "--cpu-bind=cores",
        ),
        *("apptainer", "exec", "--nv", "my image.sif", "python"),
        *("-u", "-m", "espnet3.launcher.rank.entry", "espnet3.launcher.rank.task", "/exp/attempts/train-1"),
    ]
