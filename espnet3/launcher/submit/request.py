"""What one job asks of sbatch, as plain data, and the batch script that follows from it."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from espnet3.resources import Resources
from espnet3.slurm.sbatch_options import sbatch_spelling

if TYPE_CHECKING:
    from espnet3.launcher.submit.executor import BatchExecutor


@dataclass(frozen=True)
class JobRequest:
    """A job, or an array of them, that is to be submitted."""

    resources: Resources
    """What it asks for."""
    folder: Path
    """Its own: what describes it lies there, and the batch process is given it."""
    name: str
    """In squeue."""
    token: str
    """Our own id, which Slurm keeps as the job's comment: by it the job is found again."""
    output: Path
    """What the batch process prints; `%j` in it is the job's id, `%a` the array's index."""
    stage: str = "train"
    """Whose resources they are, for messages."""
    after: Sequence[str] = ()
    """Ids of jobs that must be done before."""
    array: str = ""
    """Indices of the elements, if it is an array: "0-99%8"."""
    module: str = "espnet3.launcher.batch.run_job"
    """The batch process."""

    @property
    def where(self) -> str:
        """The key of the configuration that holds its resources: resources.train."""
        return f"resources.{self.stage}"

    @property
    def command(self) -> list[str]:
        """What the job runs."""
        return [sys.executable, "-u", "-m", self.module, str(self.folder)]

    @property
    def script(self) -> str:
        """The batch script, word for word what is submitted.

        The batch process, on the first node, starts the tasks with srun, decides what follows from their
        outcome, and its exit code is the job's. `trap` keeps the shell around it alive when Slurm sends
        SIGTERM to the whole job, so that the tasks have their time to save.
        """
        return self.executor().script()

    def executor(self) -> "BatchExecutor":
        """submitit's executor for this job."""
        from espnet3.launcher.submit.executor import BatchExecutor
        from espnet3.launcher.submit.job_handle import JobHandle

        return BatchExecutor(self.folder, self.command, sbatch_parameters(self), JobHandle)


def sbatch_parameters(request: JobRequest) -> dict[str, Any]:
    """What `request` asks for, under the names that `submitit.SlurmExecutor.update_parameters` takes."""
    asked, after = request.resources, list(request.after)
    dependency = {"dependency": f"afterok:{':'.join(after)}"} if after else {}
    further = {
        "requeue": True,
        "output": str(request.output),
        **asked.sbatch_options(),
        **sbatch_spelling(asked.additional_parameters),
        **({"kill-on-invalid-dep": "yes"} if after else {}),
        **({"array": request.array} if request.array else {}),
    }
    return {
        "job_name": request.name,
        "comment": request.token,
        **dependency,
        "setup": ["trap : TERM", *asked.setup],
        "stderr_to_stdout": True,
        "wckey": None,  # submitit's own, which some sites refuse
        "additional_parameters": further,
    }
