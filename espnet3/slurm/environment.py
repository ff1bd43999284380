"""The environment that jobs and tasks start with: the user's, without what another job has left in it."""

import os
from collections.abc import Mapping, MutableMapping

RANKS = frozenset(
    (
        *("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "NODE_RANK", "MASTER_ADDR", "MASTER_PORT"),
        *("GROUP_RANK", "GROUP_WORLD_SIZE", "ROLE_NAME", "ROLE_RANK", "ROLE_WORLD_SIZE"),
    )
)
"""What torch and Lightning take for the place of a process among others."""
_OF_A_JOB = ("SLURM_", "SLURMD_", "SBATCH_", "SRUN_", "SUBMITIT_", "ESPNET3_JOB")
_OF_A_STEP = ("PMI_", "PMI2_", "PMIX_", "OMPI_", "TORCHELASTIC_")
_DEVICES = frozenset(
    ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL")
)


def clean_environment(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """`environment` as a new job may have it, wherever this process is.

    A job that is submitted with another's variables would take them for its own. Options of sbatch in SBATCH_
    variables would come before those that its script states.
    """
    in_a_job = "SLURM_JOB_ID" in environment
    return {
        key: value
        for key, value in environment.items()
        if key == "SLURM_CONF"
        or not (key in RANKS or key.startswith((*_OF_A_JOB, *_OF_A_STEP)) or (in_a_job and key in _DEVICES))
    }


def forget_ranks(environment: MutableMapping[str, str]) -> None:
    """Take from `environment` what says which rank a process is: it may be another's."""
    for name in RANKS & environment.keys():
        del environment[name]


def surrounding_job(environment: Mapping[str, str]) -> str:
    """Id of the Slurm job whose variables are in `environment`; empty without one."""
    return environment.get("SLURM_JOB_ID", "")


def sbatch_defaults(environment: Mapping[str, str]) -> dict[str, str]:
    """The user's defaults for options of sbatch (SBATCH_PARTITION), in small letters; none inside a job."""
    if surrounding_job(environment):
        return {}
    return {
        name.removeprefix("SBATCH_").lower(): value
        for name, value in environment.items()
        if name.startswith("SBATCH_")
    }


def sbatch_variable(option: str) -> str:
    """The variable that sets an option of sbatch: SBATCH_PARTITION."""
    return f"SBATCH_{option.upper()}"
