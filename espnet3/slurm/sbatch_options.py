"""Options of sbatch in `additional_parameters`; those that another key sets are refused."""

from typing import Any

from espnet3.errors import UserError
from espnet3.resources import RESOURCES

_OUTPUT = "nothing: what jobs and tasks print is in logs/<stage> of the run directory"
_OWN_CLUSTER = "nothing: jobs are submitted to this login node's own cluster, where they are looked for"
_CALL = "nothing: espnet3 calls sbatch itself"
SET_ELSEWHERE = {
    "comment": "nothing: espnet3 finds its jobs by it",
    "dependency": "nothing: a stage's job waits for the stage before it",
    "kill-on-invalid-dep": "nothing: a job whose predecessor failed is cancelled",
    "array": "nothing: each stage is one job",
    **dict.fromkeys(("clusters", "cluster"), _OWN_CLUSTER),
    "job-name": "tag=NAME: a job is called by recipe, tag and stage",
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
        if instead:
            raise UserError(f"{where}.{name} can't be given: use {instead}")
        if not isinstance(value, str | int | float | None) or "\n" in str(value):
            raise UserError(
                f"{where}.{name}={value}: takes one text or number, or true for an option without a value;"
                " several are one text: 'a,b'"
            )


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
