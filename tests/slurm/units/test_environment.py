"""What a job or a task inherits: the user's environment, and nothing of the job it was started from."""

from pathlib import Path

import pytest

from espnet3.slurm.environment import clean_environment, forget_ranks

LEFT_BY_A_JOB = {
    "SLURM_JOB_ID": "7",
    "SLURM_CPUS_PER_TASK": "8",
    "SLURM_EXPORT_ENV": "NONE",
    "SBATCH_PARTITION": "debug",
    "SRUN_CPUS_PER_TASK": "8",
    "SQUEUE_STATES": "PENDING",
    "SACCT_FORMAT": "User",
    "SCONTROL_ALL": "1",
    "SLURMD_NODENAME": "node1",
    "SUBMITIT_EXECUTOR": "slurm",
    "RANK": "3",
    "LOCAL_RANK": "3",
    "WORLD_SIZE": "8",
    "MASTER_ADDR": "node1",
    "MASTER_PORT": "1234",
    "PMI_RANK": "3",
    "PMIX_RANK": "3",
    "OMPI_COMM_WORLD_RANK": "3",
    "TORCHELASTIC_RUN_ID": "x",
    "CUDA_VISIBLE_DEVICES": "0",
    "ESPNET3_JOB": "train-1",
}
OF_THE_USER = {
    "SLURM_CONF": "/etc/slurm.conf",
    "PATH": "/bin",
    "WANDB_API_KEY": "secret",
    "ESPNET3_SITE": "/my/site.yaml",
    "MASTERS": "degree",
    "RANKING": "first",
}


def test_a_new_job_gets_the_users_environment_without_what_another_job_left():
    assert clean_environment(LEFT_BY_A_JOB | OF_THE_USER) == OF_THE_USER
    outside = {"CUDA_VISIBLE_DEVICES": "0", **OF_THE_USER}
    assert clean_environment(outside) == outside


def test_ranks_are_forgotten_and_nothing_else():
    environment = LEFT_BY_A_JOB | OF_THE_USER
    forget_ranks(environment)
    assert (LEFT_BY_A_JOB | OF_THE_USER).keys() - environment.keys() == {
        *("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    }


@pytest.mark.slow
@pytest.mark.usefixtures("fresh_ranks")
def test_a_training_here_is_one_of_its_own_wherever_it_is_started(template: Path, run):
    code, output = run(template, "trainer.max_epochs=1", **{**LEFT_BY_A_JOB, "SLURM_JOB_ID": ""})
    assert code == 0, output
    assert "ranks: 1" in output
    assert (template / "exp/default/csv/metrics.csv").read_text().count("\n") > 1
