"""A trained recipe for the areas whose input is data or checkpoints: TEMPLATE, in this process."""

import shutil
from pathlib import Path
from typing import Any
from unittest.mock import patch

from fuzzing.recipes import ROOT
from fuzzing.sandbox import Sandbox

SMALL = (
    *("prepare.sizes={train: 8, valid: 4, test: 4}", "dataloader.train.batch_size=2"),
    *("dataloader.valid.batch_size=4",),
    *("trainer.max_epochs=2", "trainer.accumulate_grad_batches=2", "checkpoint.every_n_batches=3"),
    *("logger.tensorboard=null",),
    *("checkpoint.keep_last=4", "trainer.accelerator=cpu", "+trainer.enable_progress_bar=false"),
    *("model.channels=4",),
)  # fmt: skip


def train_small(sandbox: Sandbox, *, stages: tuple[str, ...] = ("prepare", "collect_stats", "train")) -> Any:
    """Run stages of a copy of TEMPLATE in the sandbox; returns its configuration."""
    from espnet3.config.compose import Recipe, compose
    from espnet3.launcher.rank.task import add_recipe_to_path
    from espnet3.rundir.task import Task
    from espnet3.stage_table import STAGES
    from espnet3.stages import collect_stats, prepare, train

    recipe = sandbox.folder / "egs" / "small"
    ignored = shutil.ignore_patterns("exp", "data", "__pycache__")
    shutil.copytree(ROOT / "egs" / "TEMPLATE", recipe, ignore=ignored)
    add_recipe_to_path(recipe)
    config = compose(Recipe(recipe), SMALL)
    functions = {"prepare": prepare.run, "collect_stats": collect_stats.run, "train": train.run}
    with patch("torch.set_num_threads"):
        for stage in stages:
            Path(config[STAGES[stage].directory]).mkdir(parents=True, exist_ok=True)
            functions[stage](config, Task.single(stage))
    return config
