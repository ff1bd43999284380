"""The batch script of a job, as a pure function of what the job asks for."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from espnet3.config.sbatch_options import given_options
from espnet3.launch.plan import Resources

TASK = ("espnet3.launch.entry", "espnet3.launch.task")
WARM_RANK = ("espnet3.launch.entry", "espnet3.launch.warm_rank")


def job_script(
    resources: Resources,
    folder: Path,
    *,
    name: str,
    token: str,
    output: Path,
    after: Sequence[str] = (),
    array: str = "",
    module: str = "espnet3.launch.node",
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
        "nodes": resources.nodes,
        "ntasks_per_node": resources.tasks_per_node,
        "cpus_per_task": resources.cpus_per_task,
        "gpus_per_node": resources.gpus_per_node or None,
        "mem": None if resources.mem_gb is None else _megabytes(resources.mem_gb),
        "time": resources.timeout_min,
        "signal_delay_s": resources.signal_delay_s,
        "partition": resources.partition,
        "account": resources.account,
        "qos": resources.qos,
        "constraint": resources.constraint,
        "comment": token,
        "dependency": f"afterok:{':'.join(after)}" if after else None,
    }
    options = given_options(resources.additional_parameters)
    further: dict[str, Any] = {"requeue": True, "output": str(output), **options}
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


def srun_command(
    resources: Resources,
    attempt: Path,
    output: Path,
    *,
    nodes: Sequence[str] = (),
    program: Sequence[str] = TASK,
) -> list[str]:
    """The command that starts one task per rank of an attempt; it ends when all have or one failed.

    Args:
        resources: of the stage.
        attempt: the attempt's directory, which says the tasks what to do.
        output: file for what tasks print before they open their own logs; `%t` is the rank.
        nodes: where, in a larger allocation too; by default wherever Slurm likes.
        program: each task: a module and its arguments, of which `attempt` is the last.
    """
    return [
        *_srun(resources, attempt.name, nodes),
        *("--unbuffered", f"--output={output}", "--open-mode=append", "--input=none"),
        *resources.srun_args,
        *_python(resources, *program),
        str(attempt),
    ]


def warm_command(resources: Resources, name: str, nodes: Sequence[str]) -> list[str]:
    """The command that starts warm ranks: all read what it reads, and it prints what they print, in lines."""
    return [
        *_srun(resources, name, nodes),
        *resources.srun_args,
        *_python(resources, *WARM_RANK),
    ]


def _srun(resources: Resources, name: str, nodes: Sequence[str]) -> list[str]:
    tasks = resources.nodes * resources.tasks_per_node
    return [
        *("srun", "--kill-on-bad-exit=1", f"--job-name={name}"),
        *(f"--nodes={resources.nodes}", f"--ntasks={tasks}", f"--ntasks-per-node={resources.tasks_per_node}"),
        *([f"--nodelist={','.join(nodes)}"] if nodes else []),
        f"--cpus-per-task={resources.cpus_per_task}",  # Slurm 22.05 and later don't inherit it from sbatch
        *([f"--gpus-per-node={resources.gpus_per_node}"] if resources.gpus_per_node else []),
    ]


def _python(resources: Resources, *program: str) -> list[str]:
    python = shlex.split(resources.python) if resources.python else [sys.executable]
    return [*python, "-u", "-m", *program]


def _megabytes(gigabytes: float) -> str:
    return f"{round(gigabytes * 1024)}M"
