"""Describe a search without starting it; writes nothing."""

from espnet3.errors import short_path
from espnet3.number_text import counted
from espnet3.slurm.allocation import Allocation
from espnet3.sweep.dry_run import describe_batches
from espnet3.sweep.jobs.plan import plan_batches
from espnet3.sweep.search.job import check_detached, searcher_request
from espnet3.sweep.search.planned import corners, plan_search
from espnet3.sweep.trials.search_record import SearchRequest


def describe(request: SearchRequest, allocation: Allocation | None, *, detach: bool) -> list[str]:
    """The plan in lines: space, sampler, finished trials, and the resources of a trial.

    Raises:
        UserError: see `plan_search`.
    """
    search = plan_search(request, allocation)
    settings, name = search.settings, str(search.settings.sampler["_target_"]).rpartition(".")[2]
    n_known = len(search.known_trials())
    lines = [
        f"sweep {short_path(search.sweep)}: a search for {counted(settings.n_trials, 'trial')} by {name},"
        f" {search.at_once} at once{f'; {n_known} exist' if n_known else ''}",
        f"    objective: {search.objective.direction} {search.objective.metric}",
        *(f"    {dimension}" for dimension in search.space),
    ]
    if detach:
        check_detached(search)
        script = searcher_request(search, "espnet3:TOKEN").script
        lines += ["the searching job:"]
        lines += [f"    | {line}".rstrip() for line in script.splitlines()]
    planned = search.plan(corners(search.space)[:1])
    batches = plan_batches(search.sweep, planned.trials, planned.bases, request.stages, allocation)
    return [*lines, *describe_batches(planned, batches, force=False)]
