"""Stage 0: call the recipe's function that makes the data."""

from omegaconf import DictConfig

from espnet3.config.compose import to_plain
from espnet3.rundir.task import StageResult, Task


def run(config: DictConfig, task: Task) -> StageResult:
    """Call the function `config.prepare._target_` with the other keys of `prepare` and `task=`.

    The function makes what `config.manifests` names, may be interrupted anywhere and started again,
    reports progress by `task.heartbeat`, raises `Stopped` when `task.stop` is set, and returns a
    StageResult.
    """
    from hydra.utils import get_method

    arguments = to_plain(config.prepare)
    function = get_method(arguments.pop("_target_"))
    result: StageResult = function(**arguments, task=task)  # not instantiate: it would wrap Stopped
    return result
