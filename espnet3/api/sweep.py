"""The handle of a sweep: wait for it, look at it, cancel it, from any process."""

from typing import TYPE_CHECKING, Any

from espnet3.api.background import start_resuming
from espnet3.api.handle import Handle
from espnet3.api.logged import LoggedScreen
from espnet3.api.run import Run
from espnet3.rundir.records.background import process_at_work
from espnet3.slurm.command import SlurmAway
from espnet3.sweep.cancel import cancel_sweep
from espnet3.sweep.show.results import SweepStatus, TrialRow, read_sweep_status
from espnet3.sweep.show.searcher import describe_searcher
from espnet3.sweep.show.states import UNDER_WAY
from espnet3.sweep.trials.folder import is_sweep, trial_dir
from espnet3.sweep.trials.search_record import is_search

if TYPE_CHECKING:
    from espnet3.launcher.submit.job_handle import JobHandle


class Sweep(Handle):
    """A sweep, a grid or a search, as `launch(..., multirun=True)` and `load_run` return it."""

    def status(self) -> list[TrialRow]:
        """How each trial is: `name`, `state.state`, `objective`, …; asks Slurm once, if there are jobs."""
        status = self._read()
        return status.rows if status else []

    def wait(self, timeout_s: float | None = None) -> list[TrialRow]:
        """Wait until no trial is under way, and none will be begun; how each ended.

        Args:
            timeout_s: the longest time to wait, in seconds.

        Raises:
            TimeoutError: it is still under way; nothing happens to it.
        """
        self._wait(timeout_s)
        return self.status()

    def metrics(self) -> dict[str, dict[str, Any]]:
        """The metrics of the finished stages of each trial, by its name."""
        return {name: metrics for name, trial in self.trials.items() if (metrics := trial.metrics())}

    @property
    def best(self) -> Run | None:
        """The trial that is done and best by `sweep.objective`; None if there is none yet."""
        status = self._read()
        return Run(trial_dir(self.directory, status.best.name)) if status and status.best else None

    @property
    def trials(self) -> dict[str, Run]:
        """The runs of its trials by name, in order, without those of an older configuration."""
        return {
            row.name: Run(trial_dir(self.directory, row.name))
            for row in self.status()
            if not row.listed.older
        }

    @property
    def jobs(self) -> "list[JobHandle]":
        """The jobs of its trials on Slurm, elements of arrays, behind those of stages that trials share."""
        from espnet3.launcher.submit.job_handle import load_jobs

        shared = sorted((self.directory / "shared").glob("*"))
        runs = [*shared, *(trial.directory for trial in self.trials.values())]
        return [job for run in runs for job in load_jobs(run)]

    def cancel(self) -> None:
        """Cancel its jobs, and ask a process on this machine to stop; running trials save first.

        Returns when that was asked for: `wait` waits until all has ended.

        Raises:
            UserError: Slurm does not answer, or refuses.
        """
        cancel_sweep(self.directory, LoggedScreen(), wait=False)

    def resume(self) -> None:
        """Run its unfinished trials, as `espnet3 resume` does, in a process in the background.

        Raises:
            UserError: such a process is at work, or its log can't be written.
        """
        start_resuming(self.directory)

    def _read(self) -> SweepStatus | None:
        return read_sweep_status(self.directory) if is_sweep(self.directory) else None

    def _is_under_way(self) -> bool:
        if any(row.state.state in UNDER_WAY for row in self.status()):
            return True
        process = process_at_work(self.directory)
        if process is not None and process.is_alive():
            return True
        try:
            return is_search(self.directory) and bool(describe_searcher(self.directory))
        except SlurmAway:
            return True
