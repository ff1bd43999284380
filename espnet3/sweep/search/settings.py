"""How a search is done: `hydra.sweeper`, whose keys conf/hydra/sweeper/optuna.yaml explains."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from espnet3.config.compose import Recipe, open_with_sweeper
from espnet3.config.overrides import parse_overrides
from espnet3.errors import UserError, suggestion

NAME = "optuna"
GROUP = "hydra/sweeper"
AT_ONCE_ON_SLURM = 4
KEYS = ("n_trials", "n_jobs", "params", "sampler")
OTHERS = {
    "direction": "give sweep.direction=minimize or maximize",
    "storage": "leave it out: the folder of the sweep is all that is kept",
    "study_name": "leave it out: tag=NAME names the sweep",
    "max_failure_rate": "leave it out: a failed trial does not end the search",
    "search_space": "give hydra.sweeper.params",
    "custom_search_space": "give hydra.sweeper.params",
}
"""What Hydra's own Optuna sweeper has besides, and what stands for it here."""


@dataclass(frozen=True)
class Settings:
    """How trials are chosen, and how many."""

    n_trials: int
    n_jobs: int | None
    sampler: dict[str, Any]

    def at_once(self, *, on_slurm: bool, max_parallel: int | None) -> int:
        """How many trials are under way at once."""
        wanted = self.n_jobs or (AT_ONCE_ON_SLURM if on_slurm else 1)
        return min(wanted, max_parallel or wanted)


def asks_for_search(recipe: Recipe, overrides: Sequence[str]) -> bool:
    """Whether a command line with --multirun, or else the recipe, chooses hydra/sweeper=optuna.

    Raises:
        UserError: an override that does not parse, or another sweeper.
    """
    given = parse_overrides(overrides, several=True)
    typed = [override.value() for override in given if override.key_or_group == GROUP]
    if typed:
        if typed[-1] not in ("basic", NAME):
            there_are = f"there are: basic (a grid), {NAME} (a search)"
            hint = suggestion(str(typed[-1]), ["basic", NAME], otherwise=there_are)
            raise UserError(f"{GROUP}={typed[-1]}: there is no such sweeper here; {hint}")
        return bool(typed[-1] == NAME)
    if not any(GROUP in path.read_text(errors="replace") for path in recipe.conf.rglob("*.yaml")):
        return False
    single = [one for one in given if not one.is_sweep_override()]
    return "n_trials" in open_with_sweeper(recipe, single)[1]


def refuse_unknown(overrides: Sequence[str]) -> None:
    """Refuse keys of `hydra.sweeper` that a search here does not have, before Hydra does in its own words.

    Raises:
        UserError: naming what stands for it, or the nearest one.
    """
    for override in parse_overrides(overrides, several=True):
        whole, _, name = override.key_or_group.partition("hydra.sweeper.")
        name = name.partition(".")[0]
        if whole or not name or name in KEYS:
            continue
        hint = suggestion(name, KEYS)
        raise UserError(f"{override.input_line}: {NAME} here has no key {name}; {OTHERS.get(name, hint)}")


def read_settings(sweeper: Mapping[str, Any]) -> Settings:
    """The settings in `hydra.sweeper`.

    Raises:
        UserError: Optuna is not installed, or a value is not what its key takes.
    """
    if find_spec("optuna") is None:
        raise UserError(f"{GROUP}={NAME}: Optuna is not installed here: pip install optuna")
    n_trials, n_jobs, sampler = (sweeper.get(key) for key in ("n_trials", "n_jobs", "sampler"))
    if not _is_count(n_trials):
        raise UserError(f"hydra.sweeper.n_trials={n_trials}: takes a whole number, 1 or more")
    if n_jobs is not None and not _is_count(n_jobs):
        raise UserError(f"hydra.sweeper.n_jobs={n_jobs}: takes a whole number, 1 or more, or null")
    if not isinstance(sampler, dict) or "_target_" not in sampler:
        raise UserError(
            f"hydra.sweeper.sampler={sampler}: a sampler is chosen as hydra/sweeper/sampler=tpe or random,"
            " and hydra.sweeper.sampler.KEY=… sets its options"
        )
    assert isinstance(n_trials, int)
    return Settings(n_trials, n_jobs, sampler)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
