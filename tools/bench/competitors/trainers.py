"""The Trainers for ESPnetLightningModule and for modules of Lightning's documentation."""

import logging
import tempfile

from lightning.pytorch import LightningModule, Trainer
from omegaconf import OmegaConf

from competitors.setting import RANK, RANKS, Setting, Timing
from espnet3.components.modeling.lightning_module import ESPnetLightningModule
from espnet3.components.trainers.build import build_trainer
from espnet3.components.trainers.cluster_environment import TaskEnvironment
from espnet3.rundir.task import Task

OPTIONS = {"accelerator": "cpu", "devices": RANKS, "max_epochs": 1}
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


def fit_ours(module: ESPnetLightningModule, setting: Setting, steps: int) -> list[float]:
    """Train for one epoch of `steps` steps with our Trainer; returns the seconds of each."""
    timing = Timing()
    optimizers = {"optimizers": module.config["optimizers"]} if "optimizers" in module.config else {}
    config = OmegaConf.create({"exp_dir": tempfile.gettempdir(), "trainer": OPTIONS, **optimizers})
    build_trainer(config, _task(), [timing]).fit(module, setting.loader(steps))
    return timing.durations()


def fit_documented(module: LightningModule, setting: Setting, steps: int) -> list[float]:
    """The same with a Trainer as in Lightning's documentation."""
    timing = Timing()
    trainer = Trainer(
        **OPTIONS,
        strategy="ddp_find_unused_parameters_true" if RANKS > 1 else "auto",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[timing],
        plugins=[TaskEnvironment(_task())],
    )
    trainer.fit(module, setting.loader(steps))
    return timing.durations()


def _task() -> Task:
    return Task("train", RANK, RANKS, local_rank=RANK)
