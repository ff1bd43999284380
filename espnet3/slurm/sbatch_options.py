"""Options of sbatch in `additional_parameters`; those that another key sets are refused.

Some say in which form a site wants what other keys decide, and may stand in a site file: `gres: "gpu:v100"`
or `gpus-per-node: v100` (the kind of GPU; gpus_per_node is the number), `mem-per-cpu: true` (mem_gb divided
by the CPUs), `comment: text` (before our own), and `job-name: "p42-{name}"`.
"""

import math
import re
from typing import Any

from espnet3.errors import UserError
from espnet3.resources import RESOURCES, Resources
from espnet3.value_checks import is_one_line

_OUTPUT = "nothing: what jobs and tasks print is in logs/<stage> of the run directory"
_OWN_CLUSTER = "nothing: jobs are submitted to this login node's own cluster, where they are looked for"
_CALL = "nothing: espnet3 calls sbatch itself"
SET_ELSEWHERE = {
    "dependency": "nothing: a stage's job waits for the stage before it",
    "kill-on-invalid-dep": "nothing: a job whose predecessor failed is cancelled",
    "array": "nothing: each stage is one job",
    **dict.fromkeys(("clusters", "cluster"), _OWN_CLUSTER),
    **dict.fromkeys(("output", "error", "open-mode"), _OUTPUT),
    **dict.fromkeys(("input", "wait", "wrap", "parsable", "test-only", "help", "usage", "version"), _CALL),
}
"""Options refused in `additional_parameters`, and what to use instead; those of resources are, too."""

ABOUT_HARDWARE = frozenset(
    (
        *(
            "nodelist",
            "nodefile",
            "gres",
            "gres-flags",
            "gpu-bind",
            "gpu-freq",
            "gpus-per-socket",
            "bb",
            "bbf",
        ),
        *("cpus-per-gpu", "mem-per-cpu", "mem-per-gpu", "mem-bind", "mincpus", "tmp", "licenses", "bb"),
        *("ntasks-per-core", "ntasks-per-socket", "ntasks-per-gpu", "sockets-per-node", "cores-per-socket"),
        *("threads-per-core", "extra-node-info", "core-spec", "thread-spec", "distribution", "hint"),
        *("exclusive", "overcommit", "contiguous", "switches", "spread-job", "use-min-nodes", "time-min"),
        *("tres-per-task", "tres-bind", "cluster-constraint", "cpu-freq", "power", "reboot", "no-kill"),
    )
)
"""Options for the size, nodes and cores of a job: not passed on to the small job of a detached search."""


def check_sbatch_options(where: str, options: dict[str, Any]) -> None:
    """Check the options under the key `where`, such as resources.train.additional_parameters.

    An option of one letter has another name in a script: `#SBATCH --M=…` is unknown to sbatch.

    Raises:
        UserError: naming the option and what to use instead.
    """
    stage = where.split(".")[1]
    for name, value in options.items():
        if len(option_name(name)) == 1:
            raise UserError(f"{where}.{name} can't be given: use the option's long name, as in `man sbatch`")
        instead = _replacement(option_name(name), stage)
        if option_name(name) == "job-name" and "{name}" not in str(value):
            raise UserError(
                f"{where}.{name}={value}: takes a text with {{name}}, which stands for recipe, tag and stage:"
                " 'p42-{name}'; tag=NAME names a run"
            )
        if instead and not (option_name(name) == "gpus-per-node" and _KIND.fullmatch(str(value))):
            raise UserError(f"{where}.{name} can't be given: use {instead}")
        if not isinstance(value, str | int | float | None) or not is_one_line(str(value)):
            raise UserError(
                f"{where}.{name}={value}: takes one text or number, or true for an option without a value;"
                " several are one text: 'a,b'"
            )


_KIND = re.compile(r"[A-Za-z][\w.-]*")
"""A kind of GPU, without a number."""
_GPU_GRES = re.compile(r"gpu(:[A-Za-z][\w.-]*)?")


def gpu_option(resources: Resources) -> dict[str, Any]:
    """The option of sbatch and srun that requests the GPUs of a node, in the site's form; empty: none."""
    count, given = resources.gpus_per_node, sbatch_spelling(resources.additional_parameters)
    items = str(given.get("gres", "")).split(",")
    if any(_GPU_GRES.fullmatch(item) for item in items):
        filled = [f"{item}:{count}" if _GPU_GRES.fullmatch(item) else item for item in items]
        kept = [item for item in filled if count or not item.startswith("gpu")]
        return {"gres": ",".join(kept)} if kept else {}
    kind = given.get("gpus-per-node")
    return {"gpus-per-node": f"{kind}:{count}" if kind else count} if count else {}


def job_options(resources: Resources) -> dict[str, Any]:
    """The options of a job with their values, `additional_parameters` included, in the site's form.

    Without `comment` and `job-name`: see `job_comment` and `job_name`.
    """
    further = sbatch_spelling(resources.additional_parameters)
    options = {**resources.sbatch_options(), **further}
    if any(_GPU_GRES.fullmatch(item) for item in str(further.get("gres", "")).split(",")):
        del options["gres"]
    options.pop("gpus-per-node", None)
    for name in ("comment", "job-name"):
        options.pop(name, None)
    if further.get("mem-per-cpu") is True:
        del options["mem-per-cpu"]
        if options.pop("mem", None) is not None and resources.mem_gb is not None:
            cpus = resources.tasks_per_node * resources.cpus_per_task
            options["mem-per-cpu"] = f"{math.ceil(resources.mem_gb * 1024 / cpus)}M"
    return options | gpu_option(resources)


def job_comment(resources: Resources, token: str) -> str:
    """The comment of a job: the site's, and our token."""
    own = sbatch_spelling(resources.additional_parameters).get("comment")
    return f"{own} {token}" if own else token


def job_name(resources: Resources, name: str) -> str:
    """The name of a job in the site's form."""
    form = sbatch_spelling(resources.additional_parameters).get("job-name")
    return str(form).replace("{name}", name) if form else name


def _replacement(option: str, stage: str) -> str | None:
    for name, resource in RESOURCES.items():
        if option in (resource.sbatch, *resource.decides):
            return f"resources.{stage}.{name}"
    instead = SET_ELSEWHERE.get(option)
    return instead and instead.replace("<stage>", stage)


def sbatch_spelling(options: dict[str, Any]) -> dict[str, Any]:
    """`options` by the names that sbatch uses; those that are null or false are left out."""
    return {
        option_name(name): value
        for name, value in options.items()
        if value is not None and value is not False
    }


def option_name(name: object) -> str:
    """The name that sbatch uses: gpus-per-node for gpus_per_node."""
    return str(name).replace("_", "-").lstrip("-")
