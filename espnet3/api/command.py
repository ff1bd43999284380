"""What `espnet3 run` and `launch` are asked for, as plain data."""

import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from espnet3.errors import UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from espnet3.slurm.allocation import Allocation

_HYDRAS_OWN = re.compile(r"[+~]*hydra\.(?!sweeper\.)(\w+)")
_SWEEPER_PARAMS = re.compile(r"[+~]*hydra\.sweeper\.params\b")
_INSTEAD = {
    "run": "exp_dir=/PATH or tag=NAME sets where a run is",
    "sweep": "sweep.dir=/PATH or tag=NAME sets where a sweep is",
    "mode": "--multirun runs a sweep",
}
"""By the block of Hydra's settings, what has its effect here."""


@dataclass(frozen=True)
class Command:
    """A recipe, its overrides and the flags of `espnet3 run`."""

    recipe: Path
    """The recipe's folder."""
    overrides: Sequence[str] = ()
    stage: str | None = None
    """The first stage, by number or name; None: the first there is."""
    stop_stage: str | None = None
    """The last stage."""
    multirun: bool = False
    force: bool = False
    detach: bool = False

    @property
    def stages(self) -> list[str]:
        """The stages to run.

        Raises:
            UserError: there is no such stage, or none is left.
        """
        from espnet3.launcher.planning.plan import stage_range

        return stage_range(self.stage, self.stop_stage)

    def check(self) -> None:
        """Refuse what can be seen without composing.

        Raises:
            UserError: a wrong stage, or a setting of Hydra's that would have no effect.
        """
        for word in self.overrides:
            if word.startswith(("hydra/launcher=", "hydra.launcher.")):
                raise UserError(
                    f"{word}: launcher=slurm or local sets where trials run; Hydra's own launchers are for"
                    f" python -m espnet3.hydra_app --recipe {self.recipe} -m …"
                )
            if own := _HYDRAS_OWN.match(word):
                instead = _INSTEAD.get(
                    own[1], f"it is for python -m espnet3.hydra_app --recipe {self.recipe}"
                )
                raise UserError(f"{word} has no effect on run.sh: {instead}")
            if _SWEEPER_PARAMS.match(word):
                raise UserError(f"{word}: on a command line values are given as KEY=a,b with --multirun")
        _ = self.stages

    @property
    def allocation(self) -> "Allocation | None":
        """The allocation that this process is in."""
        from espnet3.slurm.allocation import read_allocation

        return read_allocation(os.environ)

    def compose(self) -> "DictConfig":
        """The configuration.

        Raises:
            UserError: a mistake in it.
        """
        from espnet3.config.compose import compose, find_recipe

        return compose(find_recipe(self.recipe), self.overrides, self.allocation)

    @property
    def arguments(self) -> list[str]:
        """Flags and overrides, as words of a command line."""
        words: list[str] = []
        for flag, value in (("--stage", self.stage), ("--stop-stage", self.stop_stage)):
            words += [flag, value] if value is not None else []
        words += [flag for flag in ("--multirun", "--force", "--detach") if getattr(self, flag[2:])]
        return [*words, *self.overrides]

    @property
    def words(self) -> list[str]:
        """The command line, valid in any directory: by the recipe's run.sh, if it has one."""
        return [*_start(self.recipe), *self.arguments]

    def __str__(self) -> str:
        return shlex.join(self.words)

    def single(self, overrides: Sequence[str] = ()) -> "Command":
        """The command that runs the same stages once, with other overrides."""
        return replace(self, overrides=overrides, multirun=False, force=False, detach=False)

    def single_trial(self, fixed: Sequence[str], name: str, own: Sequence[str]) -> str:
        """The command line that runs a trial of a sweep alone, in a run directory of its own.

        Args:
            fixed: the overrides that all trials have.
            name: the trial's name.
            own: the trial's overrides.
        """
        from espnet3.sweep.trials.grid import single_trial_overrides

        return str(self.single([*single_trial_overrides(fixed), *own, f"tag={name}"]))


@cache  # a sweep asks for each of its trials
def _start(recipe: Path) -> tuple[str, ...]:
    """The first words of a command for `recipe`."""
    recipe = recipe.resolve()
    script = recipe / "run.sh"
    return (str(script),) if script.is_file() else ("espnet3", "run", "--recipe", str(recipe))
