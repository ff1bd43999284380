"""What a command would do, as lines of text; touches nothing."""

from collections.abc import Sequence

from omegaconf import DictConfig

from espnet3.launch.decide import decide
from espnet3.launch.plan import Job


def describe(jobs: Sequence[Job], config: DictConfig, *, force: bool) -> list[str]:
    """The plan: each job, the directory it fills, and whether it would be skipped."""
    lines = []
    upstream_runs = False
    for job in jobs:
        decision = decide(config, job.stage, force=force)
        action = {"anew": "run anew, the old training moved aside"}.get(decision.action, decision.action)
        if decision.action == "skip" and upstream_runs:
            action = "skip, unless a stage before it makes other files"
        upstream_runs |= decision.action != "skip"
        reason = f" ({decision.reason})" if decision.reason else ""
        lines += [str(job), f"    directory: {job.directory}", f"    would {action}{reason}"]
    return lines
