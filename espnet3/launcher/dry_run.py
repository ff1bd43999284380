"""What a command would do, as lines of text; writes no files and submits nothing."""

from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from espnet3.launcher.attempt.data_check import check_due, reads_data
from espnet3.launcher.planning.decide import decide_all
from espnet3.launcher.planning.plan import Job, on_slurm
from espnet3.launcher.submit.chain import stage_request
from espnet3.rundir.layout import jobs_dir
from espnet3.rundir.records.job import SCRIPT, new_job_name
from espnet3.stage_table import label


def describe(jobs: Sequence[Job], config: DictConfig, *, force: bool) -> list[str]:
    """The plan: each job, the directory it fills, and whether it would be skipped.

    Raises:
        UserError: the training in the run directory was made from something else.
    """
    lines = []
    upstream_runs, after = False, ""
    decisions = decide_all(config, [job.stage for job in jobs], force=force)
    for job, decision in zip(jobs, decisions, strict=True):
        texts = {"from_scratch": "start from scratch, the old training moved aside"}
        action = texts.get(decision.action, decision.action)
        if decision.action == "skip" and upstream_runs:
            action = "skip, unless a stage before it makes other files"
        upstream_runs |= decision.action != "skip"
        reason = f" ({decision.reason})" if decision.reason else ""
        if decision.action != "skip" and reads_data(job.stage) and (level := check_due(config)):
            lines += [f"check of the data: {level}, before {label(job.stage)}"]
        lines += [str(job), f"    directory: {job.directory}", f"    would {action}{reason}"]
        if on_slurm(job) and (decision.action != "skip" or upstream_runs):
            exp_dir = Path(config.exp_dir)
            name = new_job_name(exp_dir, job.stage)
            folder = jobs_dir(exp_dir) / name
            dependencies = [f"JOB-ID-OF-{after}"] if after else []
            script = stage_request(job, config, folder, "espnet3:TOKEN", dependencies).script
            lines += [
                f"    script: {folder / SCRIPT}",
                *(f"    | {line}".rstrip() for line in script.splitlines()),
            ]
            after = name
    return lines
