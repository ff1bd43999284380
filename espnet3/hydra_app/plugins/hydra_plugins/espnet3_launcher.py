"""`hydra/launcher=espnet3`: runs the trials of any Hydra sweeper as an espnet3 sweep.

Hydra finds launchers only in the namespace `hydra_plugins`; espnet3.hydra_app adds this folder to the path.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from espnet3.stage_table import own_stages


@dataclass
class Espnet3Conf:
    """Options of espnet3.hydra_app; where trials run is set by the recipe's `launcher`."""

    _target_: str = "hydra_plugins.espnet3_launcher.Espnet3Launcher"
    stages: list[str] = field(default_factory=own_stages)
    command: str = "python -m espnet3.hydra_app"
    force: bool = False
    detach: bool = False


ConfigStore.instance().store(group="hydra/launcher", name="espnet3", node=Espnet3Conf, provider="espnet3")


class Espnet3Launcher(Launcher):
    """Runs trials as `run.sh --multirun` does."""

    def __init__(self, **options: Any) -> None:
        self._options = options

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep the configuration, for the recipe and the swept keys."""
        self._config = config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the trials; with `detach` submit them and return nothing."""
        from espnet3.hydra_app.launch import launch

        swept: Any = OmegaConf.to_container(self._config.hydra.overrides.task, resolve=False)
        return launch(str(self._config.recipe_dir), swept, job_overrides, **self._options)
