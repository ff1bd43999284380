"""The metrics of a training: one number for each name, that of its best checkpoint."""

from collections.abc import Mapping
from typing import Any


def run_metrics(stages: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The metrics of a run directory's stages, by name.

    All are of the best checkpoint by `checkpoint.monitor`. What the training measured comes first: stage 3
    measures the same unless it decodes in another way, or scores another checkpoint.

    Args:
        stages: stage -> metrics of its record.
    """
    # records of earlier versions have the last epoch's valid/loss, then "best valid/loss"
    train = {name.removeprefix("best "): value for name, value in stages.get("train", {}).items()}
    others = {name: value for stage in stages if stage != "train" for name, value in stages[stage].items()}
    return {**train, **others, **train}  # the training's first, and its values
