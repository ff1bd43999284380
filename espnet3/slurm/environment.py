"""The environment of new jobs and tasks: the user's, without the variables of a surrounding job."""

import os
from collections.abc import Mapping, MutableMapping

RANKS = frozenset(
    (
        *("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "NODE_RANK", "MASTER_ADDR", "MASTER_PORT"),
        *("GROUP_RANK", "GROUP_WORLD_SIZE", "ROLE_NAME", "ROLE_RANK", "ROLE_WORLD_SIZE"),
    )
)
"""Variables from which torch and Lightning read the rank of a process."""
_JOB_PREFIXES = (
    *("SLURM_", "SLURMD_", "SBATCH_", "SRUN_", "SUBMITIT_", "ESPNET3_JOB"),
    *("SALLOC_", "SQUEUE_", "SACCT_", "SCANCEL_", "SCONTROL_", "SINFO_"),
    *("PMI_", "PMI2_", "PMIX_", "OMPI_", "TORCHELASTIC_"),
)
"""Prefixes of variables of a job and of its steps."""
_DEVICES = frozenset(
    ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL")
)


def clean_environment(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """`environment` without variables of a surrounding job or step, for a new job.

    A new job would take the variables of the surrounding job for its own. SBATCH_ variables would override
    the #SBATCH lines of its script, and those of squeue and sacct would hide jobs.
    """
    in_a_job = "SLURM_JOB_ID" in environment
    return {
        key: value
        for key, value in environment.items()
        if key == "SLURM_CONF"
        or not (key in RANKS or key.startswith(_JOB_PREFIXES) or (in_a_job and key in _DEVICES))
    }


def forget_ranks(environment: MutableMapping[str, str]) -> None:
    """Remove the variables that give a rank from `environment`: they may be those of another process."""
    for name in RANKS & environment.keys():
        del environment[name]


def surrounding_job(environment: Mapping[str, str]) -> str:
    """Id of the Slurm job whose variables are in `environment`; empty without one."""
    return environment.get("SLURM_JOB_ID", "")


def sbatch_defaults(environment: Mapping[str, str]) -> dict[str, str]:
    """The user's defaults for options of sbatch (SBATCH_PARTITION), in lower case; none inside a job."""
    if surrounding_job(environment):
        return {}
    return {
        name.removeprefix("SBATCH_").lower(): value
        for name, value in environment.items()
        if name.startswith("SBATCH_")
    }


def other_clusters(environment: Mapping[str, str]) -> str:
    """The setting by which the user sends jobs to other clusters: "SLURM_CLUSTERS=b"; empty without one."""
    names = ("SLURM_CLUSTERS", "SBATCH_CLUSTERS") if not surrounding_job(environment) else ()
    return next((f"{name}={environment[name]}" for name in names if environment.get(name)), "")


def sbatch_variable(option: str) -> str:
    """The variable that sets an option of sbatch: SBATCH_PARTITION."""
    return f"SBATCH_{option.upper()}"
