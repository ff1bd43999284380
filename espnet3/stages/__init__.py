"""The four stages of a recipe, one file each: a function of the configuration and the task."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

from espnet3.rundir.task import StageResult, Task

STAGES = ("prepare", "collect_stats", "train", "validate")
"""Names by number: stage 0 is `prepare`."""

StageFunction = Callable[[Any, Task], StageResult]


def stage_function(stage: str) -> StageFunction:
    """The `run` function of `stage`; its file is imported only now, so that naming stages stays cheap."""
    function: StageFunction = import_module(f"{__name__}.{stage}").run
    return function


def label(stage: str) -> str:
    """How a stage is called on the screen: "stage 2 train"."""
    return f"stage {STAGES.index(stage)} {stage}"
