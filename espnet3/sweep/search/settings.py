"""The settings of a search: `hydra.sweeper`, whose keys conf/hydra/sweeper/optuna.yaml explains."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from espnet3.config.compose import Recipe, open_with_sweeper, yaml_files
from espnet3.config.overrides import parse_overrides
from espnet3.errors import UserError, suggestion

OPTUNA = "optuna"
GROUP = "hydra/sweeper"
AT_ONCE_ON_SLURM = 4
KEYS = ("n_trials", "n_jobs", "params", "sampler")
REPLACEMENTS = {
    "direction": "give sweep.direction=minimize or maximize",
    "storage": "leave it out: a search is stored in the sweep directory",
    "study_name": "leave it out: tag=NAME names the sweep",
    "max_failure_rate": "leave it out: a failed trial does not end the search",
    "search_space": "give hydra.sweeper.params",
    "custom_search_space": "give hydra.sweeper.params",
}
"""Further keys of Hydra's own Optuna sweeper, and what to use instead."""


@dataclass(frozen=True)
class Settings:
    """How many trials, and the sampler that chooses them."""

    n_trials: int
    n_jobs: int | None
    sampler: dict[str, Any]

    def at_once(self, *, on_slurm: bool, max_parallel: int | None) -> int:
        """How many trials are under way at once."""
        n_jobs = self.n_jobs or (AT_ONCE_ON_SLURM if on_slurm else 1)
        return min(n_jobs, max_parallel or n_jobs)


def is_search_requested(recipe: Recipe, overrides: Sequence[str]) -> bool:
    """Whether a command line with --multirun, or else the recipe, chooses hydra/sweeper=optuna.

    Raises:
        UserError: an override that does not parse, or an unknown sweeper.
    """
    given = parse_overrides(overrides, several=True)
    typed = [override.value() for override in given if override.key_or_group == GROUP]
    if typed:
        if typed[-1] not in ("basic", OPTUNA):
            there_are = f"there are: basic (a grid), {OPTUNA} (a search)"
            hint = suggestion(str(typed[-1]), ["basic", OPTUNA], otherwise=there_are)
            raise UserError(f"{GROUP}={typed[-1]}: there is no such sweeper here; {hint}")
        return bool(typed[-1] == OPTUNA)
    if not any(GROUP in path.read_text("utf-8", errors="replace") for path in yaml_files(recipe.conf)):
        return False
    single = [override for override in given if not override.is_sweep_override()]
    return "n_trials" in open_with_sweeper(recipe, single)[1]


def check_sweeper_keys(overrides: Sequence[str]) -> None:
    """Refuse keys of `hydra.sweeper` that a search does not have, before Hydra refuses them.

    Raises:
        UserError: an unknown key; names its replacement or the nearest key.
    """
    for override in parse_overrides(overrides, several=True):
        whole, _, name = override.key_or_group.partition("hydra.sweeper.")
        name = name.partition(".")[0]
        if whole or not name or name in KEYS:
            continue
        hint = REPLACEMENTS.get(name) or suggestion(name, KEYS)
        raise UserError(f"{override.input_line}: {OPTUNA} here has no key {name}; {hint}")


def read_settings(sweeper: Mapping[str, Any]) -> Settings:
    """The settings in `hydra.sweeper`.

    Raises:
        UserError: Optuna is not installed, or a value is not what its key takes.
    """
    if find_spec("optuna") is None:
        raise UserError(f"{GROUP}={OPTUNA}: Optuna is not installed here: pip install optuna")
    n_trials, n_jobs, sampler = (sweeper.get(key) for key in ("n_trials", "n_jobs", "sampler"))
    if not _is_count(n_trials):
        raise UserError(f"hydra.sweeper.n_trials={n_trials}: takes a whole number, 1 or more")
    if n_jobs is not None and not _is_count(n_jobs):
        raise UserError(f"hydra.sweeper.n_jobs={n_jobs}: takes a whole number, 1 or more, or null")
    if not isinstance(sampler, dict) or "_target_" not in sampler:
        raise UserError(
            f"hydra.sweeper.sampler={sampler}: choose a sampler by hydra/sweeper/sampler=tpe or random;"
            " hydra.sweeper.sampler.KEY=… sets its options"
        )
    assert isinstance(n_trials, int)
    return Settings(n_trials, n_jobs, sampler)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
