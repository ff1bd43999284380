"""Findings from the reports of the probe's nodes: pure functions."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from espnet3.doctor.finding import Finding, note, right, wrong
from espnet3.doctor.report import Answer, Batch, Report

SKEW_S = 5.0
SLOW_FILES_S = 10.0


@dataclass(frozen=True)
class ProbeResults:
    """What is known of a probe that was submitted."""

    folder: Path
    token: str
    gpus: int
    """Requested on each node."""
    python: str
    versions: Mapping[str, Any]
    """Of the packages where it was submitted."""
    batch: Batch | None = None
    reports: Mapping[int, Report] = field(default_factory=dict)
    pinged_at: float = 0.0
    """When the ping was written, by the clock of the submitting machine; 0: not yet."""
    answers: Mapping[int, Answer] = field(default_factory=dict)
    answer_seen_at: Mapping[int, float] = field(default_factory=dict)
    """Rank -> when its answer became visible, by the same clock."""


def diagnose(results: ProbeResults) -> Iterator[Finding]:
    """Findings about files, Python, network, clocks and GPUs of the nodes."""
    if results.batch is None:
        return
    reports = [results.reports[rank] for rank in sorted(results.reports)]
    silent = [node for node in results.batch.nodes if node not in {report.node for report in reports}]
    if silent:
        yield wrong(
            f"nothing came from {', '.join(silent)}",
            "their Python does not start or they do not see the folder: see what they printed",
        )
    if not results.batch.is_requeued:
        yield note(
            "Slurm does not requeue jobs here (Requeue=0, though they ask for it)",
            "a training that is to go on is continued by a follow-up job, which waits in the queue again",
        )
    yield from _about_files(results, reports)
    yield from _about_python(results, reports)
    yield from _about_network(results.batch, reports)
    yield from _about_clocks(results)
    if results.gpus:
        yield from _about_gpus(results, reports)


def _about_files(results: ProbeResults, reports: list[Report]) -> Iterator[Finding]:
    parent = results.folder.parent
    blind = [report.node for report in reports if report.token != results.token]
    if blind:
        yield wrong(
            f"{', '.join(blind)} did not read in {parent} what was written there",
            "put clone and run directories on a file system that all nodes share",
        )
    elif reports and len(results.answers) < len(reports):
        late = [report.node for report in reports if report.rank not in results.answers]
        yield wrong(
            f"{', '.join(late)} did not see within a minute what was written in {parent}",
            "the file system shares files too late: ask the site for its attribute cache (NFS: actimeo)",
        )
    elif reports:
        took = max(results.answer_seen_at[rank] - results.pinged_at for rank in results.answers)
        text = f"all nodes see {parent}; a file and the answer to it take {took:.1f} s"
        advice = "status and stops take that long too (NFS: attribute cache, actimeo)"
        yield note(text, advice) if took > SLOW_FILES_S else right(text)
    for report in reports:
        if report.other_files:
            yield wrong(
                f"{report.node} does not see {', '.join(report.other_files)} as here",
                "put the clone with the recipe on a file system that all nodes share",
            )
        if report.distrust:
            yield wrong(
                f"{report.node} would not run what lies there: {report.distrust}",
                "users or rights of files differ between nodes and here: ask the site",
            )


def _about_python(results: ProbeResults, reports: list[Report]) -> Iterator[Finding]:
    local_versions = {"Python": results.python, **results.versions}
    differences = [
        f"{name} {version} on {report.node}, {local_versions.get(name)} here"
        for report in reports
        for name, version in {"Python": report.python, **report.versions}.items()
        if version != local_versions.get(name)
    ]
    if differences:
        yield wrong(
            f"versions differ: {'; '.join(differences)}",
            "nodes must run the same environment: check PATH in resources.<stage>.setup and the image in"
            " resources.<stage>.python",
        )
    elif reports:
        torch = f", torch {results.versions['torch']}" if results.versions.get("torch") else ""
        yield right(
            f"Python {results.python} and espnet3 {results.versions.get('espnet3')}{torch} on all nodes"
        )


def _about_network(batch: Batch, reports: list[Report]) -> Iterator[Finding]:
    unresolved = sorted({name for report in reports for name in report.unresolved})
    unreachable = [name for name in unresolved if name not in batch.addresses]
    if unreachable:
        yield wrong(
            f"{', '.join(unreachable)}: neither name nor Slurm's address resolves",
            "ask the site for /etc/hosts or DNS entries of the nodes",
        )
    elif unresolved:
        addresses = ", ".join(f"{name} by {batch.addresses[name]}" for name in unresolved)
        yield note(f"names of nodes do not resolve: {addresses}, as Slurm says")
    elif reports:
        yield right(f"the names of {', '.join(batch.nodes)} resolve on them")
    for report in reports:
        if report.unreachable:
            yield wrong(
                f"{report.node} can't connect to {reports[0].node} ({report.unreachable})",
                "ask the site which ports and interfaces are open between nodes; NCCL_SOCKET_IFNAME and"
                " GLOO_SOCKET_IFNAME choose the interface of a training",
            )
    if len(reports) > 1 and not any(report.unreachable for report in reports):
        yield right("the nodes reach each other")
        used = ", ".join(f"{report.interface} on {report.node}" for report in reports if report.interface)
        if used:
            yield right(f"gloo and NCCL use {used}")


def _about_clocks(results: ProbeResults) -> Iterator[Finding]:
    skewed, answered = [], sorted(results.answers.values(), key=lambda answer: answer.rank)
    for answer in answered:
        # It answered after the ping and before the answer was seen: a time outside of that is clock skew.
        ahead = max(answer.at - results.answer_seen_at[answer.rank], 0.0)
        behind = max(results.pinged_at - answer.at, 0.0)
        if max(ahead, behind) >= SKEW_S and answer.rank in results.reports:
            skew = f"{ahead:.0f} s ahead" if ahead else f"{behind:.0f} s behind"
            skewed.append(f"{results.reports[answer.rank].node} is {skew}")
    if skewed:
        yield wrong(
            f"clocks differ from here: {'; '.join(skewed)}",
            "ask the site; ages and times in `espnet3 status` will be off by as much",
        )
    elif answered:
        yield right(f"clocks agree within {SKEW_S:.0f} s")


def _about_gpus(results: ProbeResults, reports: list[Report]) -> Iterator[Finding]:
    short = [f"{report.node} gives {report.gpus}" for report in reports if report.gpus != results.gpus]
    if short:
        yield wrong(
            f"{results.gpus} GPUs were asked for on each node: {', '.join(short)}",
            "ask the site for its GRES",
        )
    elif reports:
        yield right(f"{results.gpus} GPUs on each node")
    blind = [
        f"{report.torch_gpus} on {report.node}" for report in reports if report.torch_gpus != results.gpus
    ]
    if blind and not short:
        yield note(
            f"torch {results.versions.get('torch')} sees other numbers of GPUs: {', '.join(blind)}",
            "install a build for the site's CUDA (tools/install.sh --torch cu126), or train on CPUs"
            " (trainer.accelerator=cpu)",
        )
