"""Stage 2: train the model, from scratch or from the newest checkpoint of the run directory."""

import logging
import os
import random
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from espnet3.config.checks.optimizers import check_optimizers
from espnet3.rundir.task import StageResult, Task
from espnet3.stages.importing import quick_imports

log = logging.getLogger(__name__)


def run(config: DictConfig, task: Task) -> StageResult:
    """Train `config.model`; continues from the newest intact checkpoint in `checkpoints/`, if there is one.

    Returns:
        The summary with the best metric; metrics of the best checkpoint, the monitored one first; outputs are
        the last and the best checkpoint, inputs the files that the data were read from.

    Raises:
        UserError: a mistake in the configuration, or the disk is full.
        Stopped: asked to stop, and saved.
    """
    with quick_imports():
        import torch.distributed

        from espnet3.components.callbacks.failure_time import FailureTime
        from espnet3.components.callbacks.monitor_check import MonitorCheck, monitors
        from espnet3.components.callbacks.progress import Progress
        from espnet3.components.checkpoint.atomic_io import disk_full_error
        from espnet3.components.checkpoint.initial_weights import load_initial_weights
        from espnet3.components.checkpoint.newest_intact import agree_on_checkpoint
        from espnet3.components.checkpoint.ranking import read_ranking
        from espnet3.components.checkpoint.run_checkpoint import RunCheckpoint
        from espnet3.components.data.instantiation import instantiate_node
        from espnet3.components.flight_recorder import collectives, record_collectives
        from espnet3.components.modeling.lightning_module import ESPnetLightningModule
        from espnet3.components.trainers.build import build_trainer

    if task.world_size > 1:
        record_collectives()
        task.tell_collectives(collectives)
    check_optimizers(config)
    _use_threads(OmegaConf.select(config, "resources.train.cpus_per_task") or 1)
    directory = Path(config.exp_dir) / "checkpoints"
    options: Any = OmegaConf.to_container(config.checkpoint)
    trainer = build_trainer(
        config,
        task,
        [
            *(FailureTime(), MonitorCheck(monitors(config)), Progress(task, config.checkpoint.monitor)),
            RunCheckpoint(directory, **options, heartbeat=task.heartbeat),
        ],
    )

    _seed(config.seed)  # the same weights on all ranks
    model = instantiate_node(config.model)
    module = ESPnetLightningModule(model, config)
    module.stop_requested = task.stop.is_set
    trainer.strategy.setup_environment()  # initializes the process group, to agree on a checkpoint
    last = agree_on_checkpoint(trainer, directory, module)
    if last is None and "num_sanity_val_steps" not in config.trainer:
        trainer.num_sanity_val_steps = 1  # for MonitorCheck
    if last is None and config.get("init_from"):
        load_initial_weights(model, config.init_from)
        log.info("initial weights from %s", config.init_from)
    _seed(config.seed + 1 + task.rank)  # dropout differs between ranks

    try:
        trainer.fit(module, ckpt_path=last, weights_only=True)
    except OSError as error:
        disk_full = disk_full_error(error, directory.parent)
        if disk_full is None:
            raise
        raise disk_full from error
    finally:
        if task.world_size > 1 and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()

    ranking = read_ranking(directory)
    best = ranking.best[0] if ranking and ranking.best else None
    epochs = f"{trainer.current_epoch} epoch{'s' * (trainer.current_epoch != 1)}"
    organizer = module.data.organizer
    files = list(dict.fromkeys([*organizer.train.files(), *organizer.valid.files()]))
    metrics = {  # of the last epoch, where no checkpoint is the best
        key: float(value) for key, value in trainer.callback_metrics.items() if key.startswith("valid/")
    }
    outputs = [directory / "last.ckpt"]
    if ranking is not None and best is not None:
        outputs.append(directory / best.file)
        metrics = {ranking.monitor: best.value, **best.metrics}
        epochs += f", best {ranking.monitor} {best.value:.4g} (epoch {best.epoch})"
    return StageResult(
        summary=epochs,
        where=directory,
        outputs=outputs,
        inputs=files,
        metrics=metrics,
    )


def _seed(seed: int) -> None:
    """Seed Python's, NumPy's and torch's generators."""
    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def _use_threads(count: int) -> None:
    """Compute with as many threads as the task has cores."""
    import torch

    os.environ["OMP_NUM_THREADS"] = str(count)  # Lightning chooses a number of its own where it is not set
    torch.set_num_threads(count)
