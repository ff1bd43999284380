"""The plan of a single run: its stages as jobs."""

from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from espnet3.api.background import start_in_background
from espnet3.api.command import Command
from espnet3.api.run import Run
from espnet3.errors import UserError
from espnet3.launcher.attempt.run_stages import check_before
from espnet3.launcher.dispatch import check_command, dispatch
from espnet3.launcher.dry_run import describe
from espnet3.launcher.planning.claims import check_free, hold_for_command
from espnet3.launcher.planning.plan import Job, on_slurm, plan
from espnet3.launcher.submit.queued import refuse_if_queued
from espnet3.rundir.layout import stage_home
from espnet3.terminal.screen import Screen


@dataclass(frozen=True)
class RunPlan:
    """A run."""

    command: Command
    config: DictConfig
    jobs: list[Job]

    def describe(self) -> list[str]:
        """The jobs, with the scripts of those on Slurm.

        Raises:
            UserError: as for the command itself.
        """
        check_command(self.jobs, self.config, force=self.command.force, detach=self.command.detach)
        exp_dir = Path(self.config.exp_dir)
        check_free(exp_dir)
        refuse_if_queued(exp_dir)
        return describe(self.jobs, self.config, force=self.command.force)

    def run(self, screen: Screen) -> int:
        """Run or submit the jobs; returns the exit code."""
        return self._dispatch(screen, detach=self.command.detach)

    def start(self, screen: Screen) -> Run:
        """Submit the jobs; where some run on this machine, start a process in the background for all.

        Raises:
            UserError: for what can be known before anything is started.
        """
        exp_dir = Path(self.config.exp_dir)
        homes = {job.stage: stage_home(self.config, job.stage) for job in self.jobs}
        if all(on_slurm(job) for job in self.jobs):
            self._dispatch(screen, detach=True)
            return Run(exp_dir, homes)
        if any(job.launcher == "debug" for job in self.jobs):
            raise UserError(
                "launcher=debug runs in the process that you debug: `espnet3 run` does that; give"
                " launcher=local"
            )
        check_before(self.jobs, self.config, force=self.command.force)
        with hold_for_command(exp_dir, screen):
            refuse_if_queued(exp_dir)
        start_in_background(exp_dir, self.command, homes)
        return Run(exp_dir, homes)

    def _dispatch(self, screen: Screen, *, detach: bool) -> int:
        return dispatch(
            self.jobs,
            self.config,
            force=self.command.force,
            detach=detach,
            command=[str(self.command)],
            screen=screen,
        )


def plan_run(command: Command, stages: list[str]) -> RunPlan:
    """Compose and plan.

    Raises:
        UserError: a mistake in the configuration.
    """
    config = command.compose()
    return RunPlan(command, config, plan(config, stages, command.allocation))
