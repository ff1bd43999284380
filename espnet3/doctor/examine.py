"""Runs the whole checklist, with the probe job, and prints a line for each finding."""

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from platform import python_version

import espnet3
from espnet3.config.site import read_site
from espnet3.doctor.checklist import about_cluster, about_environment, about_file_systems, about_resources
from espnet3.doctor.finding import Finding, note, right
from espnet3.doctor.probe import run_probe
from espnet3.doctor.requests import about_requests
from espnet3.errors import printable
from espnet3.resources import Resources
from espnet3.slurm.site.cluster import ask_cluster
from espnet3.slurm.site.partitions import eligible_partitions

DEFAULT_NODES = 2
"""Nodes of the probe, if the partition has so many."""


def examine(
    stages: Mapping[str, Resources],
    exp_dir: Path,
    *,
    files: Sequence[Path],
    nodes: int | None,
    probe: bool,
    wait_s: float,
) -> bool:
    """Print the checklist; returns whether nothing is wrong.

    Args:
        stages: resources of each stage; the probe uses those of `train`.
        exp_dir: a run directory, which need not exist: the probe tests its file system.
        files: files of the recipe, which the nodes must see.
        nodes: number of nodes of the probe; by default two, or as many as `train` has.
        probe: whether to submit a job.
        wait_s: how long in s the probe may take.
    """
    failed = False

    def show(findings: Iterable[Finding]) -> None:
        nonlocal failed
        for finding in findings:
            failed |= finding.kind == "wrong"
            print(printable(finding), flush=True)

    show(_about_this_machine(exp_dir))
    show(about_environment(os.environ))
    cluster = ask_cluster()
    show(about_cluster(cluster))
    if not cluster.settings:
        return False
    train = stages["train"]
    show(about_resources(train, cluster))
    show(about_requests(stages, cluster.partitions))
    if not probe:
        show([note("no probe job was submitted (--no-job)")])
        return not failed
    available = max(
        (partition.nodes for partition in eligible_partitions(cluster.partitions, train.partition)), default=1
    )
    size = nodes or max(train.nodes, min(DEFAULT_NODES, available))
    folder = next(path for path in (exp_dir, *exp_dir.parents) if path.is_dir())
    resources = replace(train, nodes=size, spare_nodes=0, min_nodes=None)

    def say(text: str) -> None:
        print(f"  {printable(text)}", flush=True)

    show(run_probe(resources, folder, files=files, wait_s=wait_s, say=say))
    return not failed


def _about_this_machine(exp_dir: Path) -> Iterable[Finding]:
    yield right(f"Python {python_version()} ({sys.executable}), espnet3 {espnet3.__version__}")
    site = read_site(os.environ)
    if site.path.is_file():
        yield right(f"the site file {site.path} is read")
    else:
        yield note("no site file", "espnet3 doctor --write-site makes one for this cluster")
    try:
        mounts = Path("/proc/self/mountinfo").read_text("utf-8", errors="replace")
    except OSError:
        return
    clone, python = Path(espnet3.__file__).resolve().parents[1], Path(sys.prefix).resolve()
    paths = {"espnet3": clone, "Python": python, "the run directory": exp_dir.resolve()}
    yield from about_file_systems(paths, mounts)
