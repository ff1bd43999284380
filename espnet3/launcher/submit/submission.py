"""Hand one script to Slurm, once, after it was tried out; and cancel jobs."""

from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from espnet3.errors import UserError, short_path
from espnet3.launcher.submit.precheck import check_limits, check_script
from espnet3.resources import Resources
from espnet3.slurm.command import SlurmAway, ask
from espnet3.slurm.partitions import parse_partitions
from espnet3.slurm.patience import Patience
from espnet3.slurm.queue import own_jobs
from espnet3.stage_table import label


class Refused(UserError):
    """A job that can't be submitted: what is wrong with its script, or the site's own message."""


def cancel(job_ids: Sequence[str]) -> None:
    """Cancel jobs; those that are over already don't matter.

    Raises:
        SlurmAway, UserError: Slurm does not answer, or refuses.
    """
    if job_ids:
        ask(["scancel", "--quiet", *job_ids])


def try_out(scripts: Sequence[tuple[Path, Resources, str]]) -> None:
    """Check every script and ask Slurm whether it would take the job, before the first is queued.

    Args:
        scripts: each with what it asks for, and the stage that says so.

    Raises:
        Refused: naming what is wrong, or in the site's own words.
        SlurmAway: it does not answer.
    """
    show = partial(ask, ["scontrol", "--oneliner", "show", "partition"])
    patience = Patience()
    try:
        partitions = parse_partitions(patience.until_answered(show))
        for script, resources, stage in scripts:
            check_script(script, resources, f"resources.{stage}")
            check_limits(resources, partitions, f"resources.{stage}")
    except SlurmAway:
        raise
    except UserError as error:
        raise Refused(str(error)) from error
    for script, _, stage in scripts:
        command = ["sbatch", "--test-only", str(script)]
        try:
            patience.until_answered(partial(ask, command))
        except SlurmAway:
            raise
        except UserError as error:
            raise Refused(f"Slurm refuses the job of {label(stage)}: {error}") from error


def sbatch(script: Path, token: str) -> str:
    """Submit a script once, whatever happens to Slurm: before each further try the queue is searched.

    Returns:
        The job's id, or that of the array.

    Raises:
        Refused: by Slurm, in its own words.
        SlurmAway: it does not answer.
    """

    def taken() -> str | None:
        """The job's id, where Slurm took it and could not say so."""
        with suppress(SlurmAway):
            for job in own_jobs():
                if job.comment.partition("[")[0] == token:
                    return job.job_id.partition("_")[0]
        return None

    # A command that is killed here must not leave an sbatch that submits later, unseen by `resume`.
    command = partial(ask, ["sbatch", "--parsable", str(script)], dies_with_us=True)
    try:
        return Patience().until_answered(command, taken).strip().split(";")[0]
    except SlurmAway:
        raise
    except UserError as error:
        raise Refused(f"Slurm refuses {short_path(script)}: {error}") from error
