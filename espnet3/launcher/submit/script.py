"""The batch script of a job, as a pure function of what the job asks for."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from espnet3.resources import Resources
from espnet3.slurm.sbatch_options import given_options


def job_script(
    resources: Resources,
    folder: Path,
    *,
    name: str,
    token: str,
    output: Path,
    after: Sequence[str] = (),
    array: str = "",
    module: str = "espnet3.launcher.batch.run_job",
) -> str:
    """The script that sbatch gets.

    The batch process, on the first node, starts the tasks with srun, decides what
    follows from their outcome, and its exit code is the job's. `trap` keeps the shell around it alive when
    Slurm sends SIGTERM to the whole job, so that the tasks have their time to save.

    Args:
        resources: what the job asks for.
        folder: the job's own, with `job.json` and `config.yaml`.
        name: the job's name in squeue.
        token: its comment, by which it is found again.
        output: what the batch process prints; `%j` in it is the job's id.
        after: ids of jobs that must be done before.
        array: indices of the elements, if the job is an array: "0-99%8".
        module: the batch process, which is given `folder`.
    """
    from submitit.slurm.slurm import _make_sbatch_string

    asked: dict[str, Any] = {
        "job_name": name,
        "comment": token,
        "dependency": f"afterok:{':'.join(after)}" if after else None,
    }
    options = given_options(resources.additional_parameters)
    further = {"requeue": True, "output": str(output), **resources.sbatch_options(), **options}
    if after:
        further["kill-on-invalid-dep"] = "yes"
    if array:
        further["array"] = array
    script: str = _make_sbatch_string(
        command=shlex.join([sys.executable, "-u", "-m", module, str(folder)]),
        folder=folder,
        setup=["trap : TERM", *resources.setup],
        use_srun=False,
        stderr_to_stdout=True,
        wckey=None,  # type: ignore[arg-type]  # submitit's own, which some sites refuse
        additional_parameters=further,
        **{key: value for key, value in asked.items() if value is not None},
    )
    return script
