"""Submits the probe job, waits for it, and removes job and folder in any case."""

import shutil
import signal
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from platform import python_version
from typing import Any

from espnet3.doctor.diagnosis import ProbeResults, diagnose
from espnet3.doctor.finding import Finding, note, right, wrong
from espnet3.doctor.report import (
    BATCH,
    OUTPUT,
    PING,
    PROBE,
    TOKEN,
    Batch,
    Ping,
    ProbeRequest,
    read_answers,
    read_reports,
    states,
)
from espnet3.errors import UserError, cannot_write
from espnet3.launcher.start.tasks import last_lines
from espnet3.launcher.submit.request import JobRequest
from espnet3.launcher.submit.submission import new_token, submit
from espnet3.resources import Resources
from espnet3.rundir.files.atomic import write_text
from espnet3.rundir.files.json_file import read_dataclass, write_dataclass
from espnet3.rundir.files.private import make_private
from espnet3.rundir.provenance import installed_versions
from espnet3.slurm.accounting import past_jobs
from espnet3.slurm.command import SlurmAway
from espnet3.slurm.jobs import cancel_jobs_named
from espnet3.slurm.queue import SlurmJob, own_jobs
from espnet3.slurm.sbatch_options import job_name
from espnet3.slurm.srun import srun_command

MINUTES = 5
"""Time limit of the probe job."""
FILES_EVERY_S = 0.1
QUEUE_EVERY_S = 1.0
ANSWERS_WITHIN_S = 60.0
ENDS_WITHIN_S = 10.0


@dataclass
class Probe:
    """A probe job and its results so far."""

    results: ProbeResults
    resources: Resources
    name: str
    job_id: str = ""
    state: SlurmJob | None = None

    @property
    def folder(self) -> Path:
        """The folder that the probe and its nodes share."""
        return self.results.folder


def run_probe(
    resources: Resources, where: Path, *, files: Sequence[Path], wait_s: float, say: Callable[[str], None]
) -> list[Finding]:
    """Submit a job that examines `resources.nodes` nodes, and return the findings.

    Args:
        resources: of the job, which has one task on each node.
        where: an existing folder, in which the probe creates its own.
        files: files that nodes must see as they are here.
        wait_s: how long in s the job may be pending and run before it is cancelled.
        say: called with each new state of the job.

    Side effects: folder and job are removed afterwards, also after Ctrl-C.
    """
    token = uuid.uuid4().hex
    folder = where / f".espnet3-doctor-{token[:12]}"
    results = ProbeResults(folder, token, resources.gpus_per_node, python_version(), installed_versions())
    probe_resources = replace(
        resources, tasks_per_node=1, timeout_min=MINUTES, signal_delay_s=1, max_restarts=0
    )
    probe = Probe(results, probe_resources, f"espnet3.doctor-{token[:12]}")
    with _signals_interrupt():
        try:
            try:
                _submit(probe, files)
            except UserError as error:
                return [wrong(f"the probe job could not be submitted: {error}", "see resources.train")]
            _wait(probe, time.monotonic() + wait_s, say)
            return list(_findings(probe, wait_s))
        finally:
            _end(probe)


def _submit(probe: Probe, files: Sequence[Path]) -> None:
    folder = probe.folder
    try:
        make_private(folder)
        write_text(folder / TOKEN, probe.results.token)
        tasks = srun_command(
            probe.resources, folder, folder / "early-%t.log", program=["espnet3.doctor.probe_task"]
        )
        write_dataclass(folder / PROBE, ProbeRequest(tasks, states(map(str, files))))
    except OSError as error:
        raise cannot_write(error, folder) from error
    request = JobRequest(
        probe.resources,
        folder,
        name=probe.name,
        token=new_token(),
        output=folder / OUTPUT,
        module="espnet3.doctor.on_node",
        when_back="run `espnet3 doctor` again",
    )
    probe.job_id = submit(request).job_id


def _wait(probe: Probe, deadline: float, say: Callable[[str], None]) -> None:
    """Read the nodes' files, write the ping, and poll the queue until all have answered or the job ends."""
    last_shown, next_poll, answers_by = "", 0.0, float("inf")
    while time.monotonic() < min(deadline, answers_by):
        if _read(probe):
            return
        if probe.results.pinged_at and answers_by == float("inf"):
            answers_by = time.monotonic() + ANSWERS_WITHIN_S
        if time.monotonic() >= next_poll:
            next_poll = time.monotonic() + QUEUE_EVERY_S
            with suppress(SlurmAway):
                jobs = {job.job_id: job for job in own_jobs([probe.job_id])}
                probe.state = jobs.get(probe.job_id) or past_jobs([probe.job_id]).get(probe.job_id)
                if probe.state is None or not probe.state.in_queue:
                    _read(probe)
                    return
                if (shown := f"{probe.state.state} {probe.state.reason}".strip()) != last_shown:
                    last_shown = shown
                    say(f"probe job {probe.job_id}: {shown}")
        time.sleep(FILES_EVERY_S)


def _read(probe: Probe) -> bool:
    """Read new files, and write the ping once all reports are there; True when all nodes have answered."""
    results, folder = probe.results, probe.folder
    batch = results.batch or read_dataclass(Batch, folder / BATCH)
    reports = read_reports(folder)
    pinged_at = results.pinged_at
    if batch and not pinged_at and len(reports) == len(batch.nodes):
        pinged_at = time.time()
        write_dataclass(folder / PING, Ping(pinged_at))
    answers = read_answers(folder)
    now = time.time()
    answer_seen_at = {rank: results.answer_seen_at.get(rank, now) for rank in answers}
    probe.results = replace(
        results,
        batch=batch,
        reports=reports,
        pinged_at=pinged_at,
        answers=answers,
        answer_seen_at=answer_seen_at,
    )
    return batch is not None and len(answers) == len(batch.nodes)


def _findings(probe: Probe, wait_s: float) -> Iterator[Finding]:
    results, state = probe.results, probe.state
    if results.batch is not None:
        yield right(f"the probe job {probe.job_id} ran on {', '.join(results.batch.nodes)}")
        yield from diagnose(results)
        if len(results.reports) < len(results.batch.nodes):
            yield from _output_notes(probe)
    elif state is not None and state.in_queue and state.state != "RUNNING":
        yield wrong(
            f"the probe job did not start within {wait_s / 60:g} min ({state.state} {state.reason})",
            "give it longer (--wait MINUTES), another partition (resources.train.partition=…), or --no-job",
        )
    else:
        how = f"{'still runs' if state.in_queue else f'ended as {state.state}'}" if state else "is gone"
        yield wrong(
            f"the probe job {probe.job_id} {how}, and nothing it wrote can be seen in {probe.folder.parent}",
            f"its nodes must share that folder and have {sys.executable}",
        )
        yield from _output_notes(probe)


def _output_notes(probe: Probe) -> Iterator[Finding]:
    """The last lines that a failed probe printed."""
    logs = sorted([*probe.folder.glob("early-*.log"), *probe.folder.glob(OUTPUT)])
    for line in dict.fromkeys(last_lines(logs, 5)):
        yield note(f"it printed: {line}")


def _end(probe: Probe) -> None:
    """Cancel the job unless it is about to end by itself, and remove the folder."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(UserError):
        if len(probe.results.answers) == probe.resources.nodes:
            ends_by = time.monotonic() + ENDS_WITHIN_S
            while time.monotonic() < ends_by and any(
                job.job_id == probe.job_id and job.in_queue for job in own_jobs([probe.job_id])
            ):
                time.sleep(FILES_EVERY_S)
        # by name: a Ctrl-C may have come between the submission and its id
        cancel_jobs_named(job_name(probe.resources, probe.name))
    shutil.rmtree(probe.folder, ignore_errors=True)
    signal.signal(signal.SIGINT, before)


@contextmanager
def _signals_interrupt() -> Iterator[None]:
    """Inside the block SIGTERM and SIGHUP raise KeyboardInterrupt, as Ctrl-C does."""

    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
