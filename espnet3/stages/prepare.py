"""Stage 0: call the recipe's own function that makes the data."""

from omegaconf import DictConfig

from espnet3.rundir.task import StageResult, Task


def run(config: DictConfig, task: Task) -> StageResult:
    """Call `config.prepare._target_` with the other keys of `prepare` and `task=`.

    The function makes what `config.manifests` names, may be interrupted anywhere and started again,
    reports progress by `task.heartbeat`, and returns a StageResult.
    """
    from hydra.utils import instantiate

    result: StageResult = instantiate(config.prepare, task=task)
    return result
