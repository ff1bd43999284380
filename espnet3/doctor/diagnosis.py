"""Findings from what the probe's nodes have reported: a pure function."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from espnet3.doctor.finding import Finding, note, right, wrong
from espnet3.doctor.report import Answer, Batch, Report

SKEW_S = 5.0
SLOW_S = 10.0


@dataclass(frozen=True)
class ProbeResults:
    """Everything that is known of a probe that has started."""

    folder: Path
    token: str
    gpus: int
    """SweepOptions for on each node."""
    python: str
    versions: Mapping[str, Any]
    """Where it was submitted."""
    batch: Batch | None = None
    reports: Mapping[int, Report] = field(default_factory=dict)
    asked_at: float = 0.0
    """When the ping was sent, by the clock of where the job was submitted."""
    answers: Mapping[int, Answer] = field(default_factory=dict)
    seen_at: Mapping[int, float] = field(default_factory=dict)
    """Rank -> when its answer was seen, by that clock."""


def diagnose(seen: ProbeResults) -> Iterator[Finding]:
    """What the nodes see and have, one finding each."""
    if seen.batch is None:
        return
    reports = [seen.reports[rank] for rank in sorted(seen.reports)]
    silent = [node for node in seen.batch.nodes if node not in {report.node for report in reports}]
    if silent:
        yield wrong(
            f"nothing came from {', '.join(silent)}",
            "their Python does not start or they do not see the folder: see what they printed",
        )
    yield from _about_files(seen, reports)
    yield from _about_python(seen, reports)
    yield from _about_network(seen.batch, reports)
    yield from _about_clocks(seen)
    if seen.gpus:
        yield from _about_gpus(seen, reports)


def _about_files(seen: ProbeResults, reports: list[Report]) -> Iterator[Finding]:
    place = seen.folder.parent
    blind = [report.node for report in reports if report.token != seen.token]
    if blind:
        yield wrong(
            f"{', '.join(blind)} did not read in {place} what was written there",
            "put clone and run directories on a file system that all nodes share",
        )
    elif reports and len(seen.answers) < len(reports):
        late = [report.node for report in reports if report.rank not in seen.answers]
        yield wrong(
            f"{', '.join(late)} did not see within a minute what was written in {place}",
            "the file system shares files too late: ask the site for its attribute cache (NFS: actimeo)",
        )
    elif reports:
        took = max(seen.seen_at[rank] - seen.asked_at for rank in seen.answers)
        text = f"all nodes see {place}; a file and the answer to it take {took:.1f} s"
        advice = "status and stops take that long too (NFS: attribute cache, actimeo)"
        yield note(text, advice) if took > SLOW_S else right(text)
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


def _about_python(seen: ProbeResults, reports: list[Report]) -> Iterator[Finding]:
    here = {"Python": seen.python, **seen.versions}
    differences = [
        f"{name} {there} on {report.node}, {here.get(name)} here"
        for report in reports
        for name, there in {"Python": report.python, **report.versions}.items()
        if there != here.get(name)
    ]
    if differences:
        yield wrong(
            f"versions differ: {'; '.join(differences)}",
            "nodes must run the same environment: check PATH in resources.<stage>.setup and the image in"
            " resources.<stage>.python",
        )
    elif reports:
        torch = f", torch {seen.versions['torch']}" if seen.versions.get("torch") else ""
        yield right(f"Python {seen.python} and espnet3 {seen.versions.get('espnet3')}{torch} on all nodes")


def _about_network(batch: Batch, reports: list[Report]) -> Iterator[Finding]:
    unknown = sorted({name for report in reports for name in report.unresolved})
    lost = [name for name in unknown if name not in batch.addresses]
    if lost:
        yield wrong(
            f"{', '.join(lost)}: neither name nor Slurm's address resolves",
            "ask the site for /etc/hosts or DNS entries of the nodes",
        )
    elif unknown:
        known = ", ".join(f"{name} by {batch.addresses[name]}" for name in unknown)
        yield note(f"names of nodes do not resolve: {known}, as Slurm says")
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


def _about_clocks(seen: ProbeResults) -> Iterator[Finding]:
    skewed, answered = [], sorted(seen.answers.values(), key=lambda answer: answer.rank)
    for answer in answered:
        # It answered after it was asked and before the answer was seen: what lies outside is the clocks'.
        ahead = max(answer.at - seen.seen_at[answer.rank], 0.0)
        behind = max(seen.asked_at - answer.at, 0.0)
        if max(ahead, behind) >= SKEW_S and answer.rank in seen.reports:
            how = f"{ahead:.0f} s ahead" if ahead else f"{behind:.0f} s behind"
            skewed.append(f"{seen.reports[answer.rank].node} is {how}")
    if skewed:
        yield wrong(
            f"clocks differ from here: {'; '.join(skewed)}",
            "ask the site; ages and times in `espnet3 status` will be off by as much",
        )
    elif answered:
        yield right(f"clocks agree within {SKEW_S:.0f} s")


def _about_gpus(seen: ProbeResults, reports: list[Report]) -> Iterator[Finding]:
    short = [f"{report.node} gives {report.gpus}" for report in reports if report.gpus != seen.gpus]
    if short:
        yield wrong(
            f"{seen.gpus} GPUs were asked for on each node: {', '.join(short)}", "ask the site for its GRES"
        )
    elif reports:
        yield right(f"{seen.gpus} GPUs on each node")
    blind = [f"{report.torch_gpus} on {report.node}" for report in reports if report.torch_gpus != seen.gpus]
    if blind and not short:
        yield note(
            f"torch {seen.versions.get('torch')} sees other numbers of GPUs: {', '.join(blind)}",
            "install a build for the site's CUDA (tools/install.sh --torch cu126), or train on CPUs"
            " (trainer.accelerator=cpu)",
        )
