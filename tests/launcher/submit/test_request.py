"""The batch script and the srun command are what the resources say, word for word."""

import subprocess
import sys
from pathlib import Path

import pytest

from espnet3.launcher.start.step import TASK
from espnet3.launcher.submit.request import JobRequest
from espnet3.resources import Resources
from espnet3.rundir.records.job import read_job_result
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
setup_failed() {{ trap - ERR EXIT; {sys.executable} -m espnet3.launcher.batch.setup_failure\
 '/exp/my jobs/train-1' resources.train.setup "$@"; exit $(($1 ? $1 : 1)); }}
trap 'code=$?; [ ${{#BASH_SOURCE[@]}} -gt 1 ] || setup_failed $code "$BASH_COMMAND"' ERR
trap 'setup_failed $? "$BASH_COMMAND"' EXIT
module load cuda
ulimit -n 4096
trap - ERR EXIT

# command
export SUBMITIT_EXECUTOR=slurm
for start in 1 2 3; do
    {sys.executable} -u -m espnet3.launcher.batch.run_job '/exp/my jobs/train-1'
    code=$?
    case $code in
        13[45679]) echo "the batch process was killed, exit code $code" ;;
        *) break ;;
    esac
done
exit $code
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


def run_script(folder: Path, command: str, *setup: str) -> subprocess.CompletedProcess[str]:
    """Run the script of a job whose batch process is a command of the shell."""
    request = JobRequest(Resources(setup=setup), folder, name="n", token="t", output=folder / "log")
    own = " ".join(request.command)
    folder.mkdir(exist_ok=True)
    (folder / "job.sh").write_text(request.script.replace(own, command))
    return subprocess.run(["bash", folder / "job.sh"], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("line", "code", "named"),
    [
        ("module load nothing", 127, "`module load nothing` ended with exit code 127"),
        ("exit 3", 3, "`exit 3` ended with exit code 3"),
        ("exit 0", 1, "`exit 0` ended the script"),
        ("false || exit 4", 4, "`exit 4` ended with exit code 4"),
        ("set -e; false", 1, "`false` ended with exit code 1"),
    ],
)
def test_a_line_of_setup_that_fails_fails_the_job_by_its_name(
    tmp_path: Path, line: str, code: int, named: str
):
    done = run_script(tmp_path / "train-1", "echo it runs", "export A=1", line)
    assert done.returncode == code and "it runs" not in done.stdout
    result = read_job_result(tmp_path / "train-1")
    assert result is not None and result.outcome == "failed"
    assert result.reason.startswith(f"resources.train.setup: {named}") and result.reason in done.stdout


def test_setup_that_does_not_fail_is_left_alone(tmp_path: Path):
    sourced = tmp_path / "profile.sh"
    sourced.write_text("false\nexport B=2\n")
    setup = ("false || true", f"source {sourced}", "if false; then", "exit 3", "fi")
    done = run_script(tmp_path / "train-1", "sh -c 'echo $B; exit 75'", *setup)
    assert (done.returncode, done.stdout) == (75, "2\n"), done.stderr
    assert read_job_result(tmp_path / "train-1") is None


def test_a_batch_process_that_is_killed_runs_again_and_other_ends_stand(tmp_path: Path):
    count = f"echo x >> {tmp_path}/starts; [ $(wc -l < {tmp_path}/starts) -ge 2 ] && exit 75; kill -9 $$"
    done = run_script(tmp_path / "train-1", f"sh -c '{count}'")
    assert done.returncode == 75 and "the batch process was killed, exit code 137" in done.stdout
    done = run_script(tmp_path / "train-1", "sh -c 'kill -9 $$'")
    assert done.returncode == 137 and done.stdout.count("was killed") == 3
    for number in (15, 12):  # Slurm is ending the job, or its time limit is near
        done = run_script(tmp_path / "train-1", f"sh -c 'kill -{number} $$'")
        assert done.returncode == 128 + number and not done.stdout
