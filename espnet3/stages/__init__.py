"""The stages of a recipe, one file each: a function of the configuration and the task.

`espnet3.stage_table` says what else is known of each.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any

from espnet3.rundir.task import StageResult, Task
from espnet3.stage_table import STAGES

StageFunction = Callable[[Any, Task], StageResult]


def stage_function(stage: str) -> StageFunction:
    """The function of `stage`; its file is imported only now, so that naming stages stays cheap."""
    module, _, name = STAGES[stage].function.rpartition(".")
    function: StageFunction = getattr(import_module(module), name)
    return function
