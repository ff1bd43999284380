"""`hydra/launcher=espnet3`: whatever a sweeper of Hydra's asks for becomes trials of a durable sweep.

Hydra takes launchers only from the namespace `hydra_plugins`; espnet3.hydra_app puts this folder on the path.
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
    """What espnet3.hydra_app is asked for besides the trials; where they run is the recipe's `launcher`."""

    _target_: str = "hydra_plugins.espnet3_launcher.Espnet3Launcher"
    stages: list[str] = field(default_factory=own_stages)
    command: str = "python -m espnet3.hydra_app"
    force: bool = False
    detach: bool = False


ConfigStore.instance().store(group="hydra/launcher", name="espnet3", node=Espnet3Conf, provider="espnet3")


class Espnet3Launcher(Launcher):
    """Runs trials as `run.sh --multirun` does."""

    def __init__(self, **asked: Any) -> None:
        self._asked = asked

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Note the configuration: of it the recipe and the swept keys count."""
        self._config = config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the trials, or with `detach` submit them: then nothing is returned."""
        from espnet3.hydra_app.launched import launch

        swept: Any = OmegaConf.to_container(self._config.hydra.overrides.task, resolve=False)
        return launch(str(self._config.recipe_dir), swept, job_overrides, **self._asked)
