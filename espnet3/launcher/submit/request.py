"""The request of one job to sbatch, as plain data, and its batch script."""

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from espnet3.resources import Resources
from espnet3.slurm.sbatch_options import job_comment, job_name, job_options

if TYPE_CHECKING:
    from espnet3.launcher.submit.executor import BatchExecutor


@dataclass(frozen=True)
class JobRequest:
    """A job, or a job array, that is to be submitted."""

    resources: Resources
    folder: Path
    """The job's folder with its description; the argument of the batch process."""
    name: str
    """The name in squeue, unless the site wants another form of it."""
    token: str
    """A unique id that Slurm keeps in the job's comment, by which the job is found in the queue."""
    output: Path
    """The log of the batch process; `%j` in it is the job's id, `%a` the array's index."""
    stage: str = "train"
    """The stage whose resources they are, for messages."""
    after: Sequence[str] = ()
    """Ids of jobs that must be done before it starts."""
    array: str = ""
    """Indices of the elements, if it is an array: "0-99%8"."""
    module: str = "espnet3.launcher.batch.run_job"
    """The Python module of the batch process."""
    when_back: str = "`espnet3 resume` submits what is missing"
    """What to do if Slurm is away, once it is back."""

    @property
    def where(self) -> str:
        """The key of the configuration that holds its resources: resources.train."""
        return f"resources.{self.stage}"

    @property
    def command(self) -> list[str]:
        """The command that the job runs."""
        return [sys.executable, "-u", "-m", self.module, str(self.folder)]

    @property
    def script(self) -> str:
        """The batch script, exactly as it is submitted.

        The batch process, on the first node, starts the tasks with srun and decides on a restart from their
        outcome; its exit code is the job's. `trap` keeps the shell around it alive when Slurm sends
        SIGTERM to the whole job, so that the tasks have time to save.
        """
        return self.executor().script()

    def executor(self) -> "BatchExecutor":
        """submitit's executor for this job."""
        from espnet3.launcher.submit.executor import BatchExecutor
        from espnet3.launcher.submit.job_handle import JobHandle

        return BatchExecutor(self.folder, self.command, sbatch_parameters(self), JobHandle)


def sbatch_parameters(request: JobRequest) -> dict[str, Any]:
    """The parameters of `request` for `submitit.SlurmExecutor.update_parameters`."""
    resources, after = request.resources, list(request.after)
    dependency = {"dependency": f"afterok:{':'.join(after)}"} if after else {}
    additional = {
        "requeue": True,
        "output": str(request.output),
        **job_options(resources),
        **({"kill-on-invalid-dep": "yes"} if after else {}),
        **({"array": request.array} if request.array else {}),
    }
    return {
        "job_name": job_name(resources, request.name),
        "comment": job_comment(resources, request.token),
        **dependency,
        "setup": ["trap : TERM", *guarded_setup(request)],
        "stderr_to_stdout": True,
        "wckey": None,  # submitit's own, which some sites refuse
        "additional_parameters": additional,
    }


def guarded_setup(request: JobRequest) -> list[str]:
    """The user's `setup` lines, of which one that fails, or that ends the script, fails the job by its name.

    A command inside a sourced file may fail; what counts is the code of `source`.
    """
    if not request.resources.setup:
        return []
    note = [sys.executable, "-m", "espnet3.launcher.batch.setup_failure", str(request.folder)]
    failed = f'trap - ERR EXIT; {shlex.join([*note, f"{request.where}.setup"])} "$@"; exit $(($1 ? $1 : 1))'
    return [
        f"setup_failed() {{ {failed}; }}",
        "trap 'code=$?; [ ${#BASH_SOURCE[@]} -gt 1 ] || setup_failed $code \"$BASH_COMMAND\"' ERR",
        "trap 'setup_failed $? \"$BASH_COMMAND\"' EXIT",
        *request.resources.setup,
        "trap - ERR EXIT",
    ]
