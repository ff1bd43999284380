"""Whether Slurm would accept the jobs of the configuration; nothing is queued."""

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from espnet3.doctor.finding import Finding, right, wrong
from espnet3.errors import UserError
from espnet3.launcher.submit.precheck import check_limits, check_script
from espnet3.launcher.submit.request import JobRequest
from espnet3.launcher.submit.submission import new_token
from espnet3.number_text import counted
from espnet3.resources import Resources
from espnet3.rundir.records.job import SCRIPT
from espnet3.slurm.jobs import test_script
from espnet3.slurm.sbatch_options import job_options, sbatch_spelling
from espnet3.slurm.site.partitions import Partition


def about_requests(stages: Mapping[str, Resources], partitions: tuple[Partition, ...]) -> Iterator[Finding]:
    """Test a job of each stage; stages with the same resources share a finding."""
    groups: list[tuple[Resources, list[str]]] = []
    for stage, resources in stages.items():
        names = next((names for shared, names in groups if shared == resources), None)
        if names is None:
            groups.append((resources, [stage]))
        else:
            names.append(stage)
    for resources, names in groups:
        try:
            _test(resources, partitions, f"resources.{names[-1]}")
        except UserError as error:
            yield wrong(f"jobs of {', '.join(names)} are refused: {error}", f"see resources.{names[-1]}")
        else:
            gpus = f", {resources.gpus_per_node} GPUs each" if resources.gpus_per_node else ""
            where = f"partition {resources.partition}" if resources.partition else "the default partition"
            tasks = counted(resources.tasks_per_node, "task")
            spares = f" + {resources.spare_nodes} spare" if resources.spare_nodes else ""
            size = f"{resources.nodes}{spares} x {tasks}{gpus}, {resources.timeout_min} min"
            given = ", ".join(f"{name}={value}" for name, value in _further(resources).items())
            further = f", with {given}" if given else ""
            yield right(f"Slurm takes jobs of {', '.join(names)}: {size} in {where}{further}")


def _further(resources: Resources) -> dict[str, Any]:
    """What `additional_parameters` make of a job's options, in the site's form."""
    given = sbatch_spelling(resources.additional_parameters)
    options = job_options(resources)
    names = (*given, *(("gres",) if "gres" in options else ()))
    return {name: options.get(name, given.get(name)) for name in dict.fromkeys(names)}


def _test(resources: Resources, partitions: tuple[Partition, ...], where: str) -> None:
    check_limits(resources, partitions, where)
    with tempfile.TemporaryDirectory(prefix="espnet3-doctor-") as directory:
        folder = Path(directory)
        request = JobRequest(
            resources, folder, name="espnet3.doctor", token=new_token(), output=folder / "job.log"
        )
        script = folder / SCRIPT
        script.write_text(request.script, encoding="utf-8")
        check_script(script, resources, where)
        test_script(script)
