"""The handle of a run: wait for it, look at it, cancel it, from any process."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from espnet3.api.background import start_again, started_last
from espnet3.api.handle import Handle
from espnet3.api.logged import LoggedScreen
from espnet3.launcher.cancel import cancel_runs
from espnet3.launcher.resume import resume
from espnet3.launcher.start.tasks import last_lines
from espnet3.rundir.metrics import run_metrics
from espnet3.rundir.records.background import Background, background_log, read_background
from espnet3.rundir.records.record import read_record
from espnet3.stage_table import STAGES
from espnet3.status.run_files import RunFiles, read_run
from espnet3.status.snapshot import QueueSnapshot, query_queue
from espnet3.status.stage_states import jobs_to_query, owner_is_at_work, stage_statuses
from espnet3.status.stage_status import UNDER_WAY, StageStatus

if TYPE_CHECKING:
    from espnet3.launcher.submit.job_handle import JobHandle


class Run(Handle):
    """A run, as `launch` and `load_run` return it.

    Args:
        directory: the run directory.
        homes: the stages that are meant, each with the directory that it fills; without, those of which the
            run directory holds anything.
    """

    def __init__(self, directory: Path | str, homes: Mapping[str, Path] | None = None) -> None:
        super().__init__(directory)
        self._homes = dict(homes or {})

    def status(self) -> list[StageStatus]:
        """How each stage is, in order, as `espnet3 status` shows it; asks Slurm once, if there are jobs."""
        return self._look()[2]

    def wait(self, timeout_s: float | None = None) -> list[StageStatus]:
        """Wait until nothing of the run is under way; how each stage ended.

        Args:
            timeout_s: the longest time to wait, in seconds.

        Raises:
            TimeoutError: it is still under way; nothing happens to it.
        """
        self._wait(timeout_s)
        return self.status()

    def result(self) -> dict[str, Any]:
        """Wait for the run; its metrics.

        Raises:
            JobFailed: a stage did not end as done; with the first failing rank's traceback.
        """
        failed = next((row for row in self.wait() if row.state != "done"), None)
        if failed is not None:
            from espnet3.launcher.submit.job_handle import failure_of

            raise failure_of(failed)
        return self.metrics()

    def metrics(self) -> dict[str, Any]:
        """The metrics of the finished stages, of the best checkpoint: `valid/loss`, `test/…`."""
        records = {stage: read_record(self.directory, stage) for stage in STAGES}
        done = {stage: record.metrics for stage, record in records.items() if record and record.done}
        return run_metrics(done)

    def cancel(self) -> None:
        """Cancel its jobs, and ask a process on this machine to stop; a running stage saves first.

        Returns when that was asked for: `wait` waits until all has ended.

        Raises:
            UserError: Slurm does not answer, or refuses.
        """
        cancel_runs([self.directory], LoggedScreen(), wait=False)

    def resume(self) -> None:
        """Submit its unfinished stages again, as `espnet3 resume` does; returns when they are submitted.

        What `launch` had started on this machine goes on there, in the background.

        Raises:
            UserError: it is in use, Slurm refuses, or a command in a shell had started it on this machine:
                the message has the command that continues it.
        """
        here = started_last(self.directory)
        if here is not None:
            start_again(self.directory, here)
        else:
            resume(self.directory, LoggedScreen())

    @property
    def jobs(self) -> "list[JobHandle]":
        """Its jobs on Slurm, each a `submitit.SlurmJob`: those that were submitted together last."""
        from espnet3.launcher.submit.job_handle import load_jobs

        return load_jobs(self.directory)

    def _is_under_way(self) -> bool:
        files, queue, rows = self._look()
        return any(row.state in UNDER_WAY for row in rows) or (
            files.owner is not None and owner_is_at_work(files, queue)
        )

    def _look(self) -> tuple[RunFiles, QueueSnapshot, list[StageStatus]]:
        files, background = read_run(self.directory), read_background(self.directory)
        queue = query_queue(jobs_to_query([files]))
        rows = {row.stage: row for row in stage_statuses(files, queue, time.time()) if row.stage}
        if self._homes:
            rows = {
                stage: self._stage_status(stage, home, rows.get(stage), background)
                for stage, home in self._homes.items()
            }
        return files, queue, list(rows.values())

    def _stage_status(
        self, stage: str, home: Path, row: StageStatus | None, background: Background | None
    ) -> StageStatus:
        """How a stage is: by the run directory, or skipped, or not yet begun by the background command."""
        if row is not None and row.state in (*UNDER_WAY, "done"):
            return row
        ended_at = row.ended_at or 0.0 if row else 0.0
        record = read_record(home, stage)
        if record is not None and record.done and record.finished_at > ended_at:
            return StageStatus(
                self.directory, stage, "done", ended_at=record.finished_at, metrics=record.metrics
            )
        if background is not None and background.is_alive and ended_at < background.started_at:
            return StageStatus(self.directory, stage, "queued", str(background.process_name))
        if row is not None:
            return row
        log = background_log(self.directory)
        said = last_lines([log], 1) if background is not None and log.exists() else []
        return StageStatus(self.directory, stage, "not started", "".join(said))
