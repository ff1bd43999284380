"""submitit's executors as espnet3 uses them: only this file uses private names of submitit.

Importing it imports submitit (0.1 s), so others import it where they call it.
"""

import re
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from submitit import Job, SlurmExecutor, SlurmJob
from submitit.core.utils import FailedSubmissionError

from espnet3.rundir.files.atomic import write_text
from espnet3.rundir.records.job import SCRIPT
from espnet3.slurm.command import SlurmAway, ask
from espnet3.slurm.queue import own_jobs, token_in
from espnet3.slurm.retry import SlurmRetry

_RESTARTED = """\
for start in 1 2 3; do
    {command}
    code=$?
    case $code in
        13[45679]) echo "the batch process was killed, exit code $code" ;;
        *) break ;;
    esac
done
exit $code"""
"""The command in a batch script. It runs again after SIGABRT, SIGBUS, SIGFPE, SIGKILL and SIGSEGV, which may
hit the batch process only (memory). Slurm ends a whole job, this shell with it."""


class BatchExecutor(SlurmExecutor):
    """submitit's Slurm executor, whose jobs run a given command instead of a pickled function.

    submitit makes the parameters, the script and the sbatch command, and reads the id in its answer. The
    script is `job.sh` in the folder. sbatch has a clean environment, ends with this process, and is retried
    while Slurm does not answer, unless the job is found in the queue.

    Args:
        folder: the job's folder; it must exist when the job is submitted.
        command: the command that the job runs on its first node.
        parameters: for `update_parameters`; must have a unique `comment`, by which a job is found whose
            id did not arrive.
        job_class: class of the handle that submission returns.
    """

    def __init__(
        self,
        folder: Path,
        command: Sequence[str],
        parameters: Mapping[str, Any],
        job_class: type[SlurmJob] = SlurmJob,
    ) -> None:
        super().__init__(folder)
        self.command = list(command)
        self.job_class = job_class
        self.update_parameters(**parameters, use_srun=False)

    @classmethod
    def affinity(cls) -> int:
        """Report the executor as available: scripts are also shown on machines without Slurm."""
        return 2

    def script(self) -> str:
        """The batch script."""
        text: str = self._make_submission_file_text(self._submitit_command_str, uid="")
        return text

    def submit_command(self) -> SlurmJob:
        """Write the script and submit the job, once.

        Raises:
            OSError: the script can't be written.
            SlurmAway: Slurm does not answer; the job may be in the queue.
            UserError: Slurm refuses, in its own words.
        """
        return self._submit_command(self._submitit_command_str)

    @property
    def _submitit_command_str(self) -> str:
        return _RESTARTED.format(command=shlex.join(self.command))

    def _internal_process_submissions(self, delayed_submissions: list[Any]) -> list[Job]:
        raise TypeError("BatchExecutor runs its command: call submit_command, which pickles nothing")

    def _submit_command(self, command: str) -> SlurmJob:
        script = self.folder / SCRIPT
        write_text(script, self._make_submission_file_text(command, uid=""))
        sbatch = partial(self._sbatch, self._make_submission_command(script))
        job_id = SlurmRetry().until_answered(sbatch, self._id_in_queue)
        return self.job_class(self.folder, job_id)

    def _sbatch(self, command: Sequence[str]) -> str:
        """Run sbatch; the job's id, or that of the array."""
        # A process that is killed here must not leave an sbatch that submits later, unseen by `resume`.
        answer = ask(command, dies_with_us=True)
        # A wrapper of the site may print other lines, which may hold "job 3" as well.
        own_lines = [line for line in answer.splitlines() if line.startswith("Submitted batch job ")]
        try:
            job_id: str = self._get_job_id_from_submission_command(own_lines[-1] if own_lines else answer)
        except FailedSubmissionError:
            raise SlurmAway(f"sbatch answered without a job id: {answer.strip()!r}") from None
        return job_id

    def submit_again(self, script: Path, *, after: str, array: str = "", options: Sequence[str] = ()) -> str:
        """Submit a script that was submitted before, as another job, with this executor's token.

        Args:
            script: as submitted; sbatch's options override those in it.
            after: id of the job that must have ended, in any way, before the new one starts.
            array: indices of the elements, if it is an array.
            options: of sbatch, further ones.

        Returns:
            The new job's id; that of the array if it is one.

        Raises:
            SlurmAway, UserError: as `submit_command`.
        """
        before = re.search(r"^#SBATCH (--comment=.*)$", script.read_text(), re.MULTILINE)
        comment = shlex.split(before[1])[0].removeprefix("--comment=") if before else ""
        comment = comment.removesuffix(token_in(comment)) + self.parameters["comment"]
        own = [f"--comment={comment}", f"--dependency=afterany:{after}"]
        command = ["sbatch", *own, *options, *([f"--array={array}"] if array else []), str(script)]
        return SlurmRetry().until_answered(partial(self._sbatch, command), self._id_in_queue)

    def _id_in_queue(self) -> str | None:
        """The id of the job in the queue, if Slurm accepted it although its answer was lost."""
        with suppress(SlurmAway):
            for job in own_jobs():
                if job.comment.partition("[")[0] == token_in(self.parameters["comment"]):
                    return job.job_id.partition("_")[0]
        return None
