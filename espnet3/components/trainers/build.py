"""From the configuration to a Lightning Trainer that runs as one rank of a job."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.accelerators import CUDAAccelerator
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig, OmegaConf

from espnet3.components.checkpoint.background.background_io import BackgroundCheckpointIO
from espnet3.components.trainers.cluster_environment import TaskEnvironment
from espnet3.components.trainers.lightning_internals import leave_signals_alone, set_rank
from espnet3.components.trainers.named_optimizers import DDPWithoutReducer
from espnet3.components.trainers.quiet import quieten_lightning
from espnet3.components.trainers.unprofiled import Unprofiled
from espnet3.config.checks.trainer_keys import OURS, UNUSED, check_trainer_keys
from espnet3.errors import UserError
from espnet3.rundir.task import Task


def build_trainer(config: DictConfig, task: Task, callbacks: Sequence[Callback] = ()) -> Trainer:
    """The Trainer that `config.trainer` describes, for the rank that `task` is.

    Args:
        config: the whole configuration; `trainer`, `logger`, `callbacks`, `exp_dir`, `resources` are used.
        task: the rank that this process is; all ranks are running.
        callbacks: run before those of `config.callbacks`; checkpointing ones run last, as in Lightning.

    Raises:
        UserError: an argument that Lightning's Trainer does not have, or that is given elsewhere, or a
            number of ranks other than launched.
    """
    quieten_lightning()
    arguments = trainer_arguments(config)
    for key, value in arguments.items():
        if isinstance(value, dict):
            arguments[key] = _made(key, value)
    arguments["accelerator"] = _accelerator(arguments.get("accelerator", "auto"), config)
    _check_ranks(arguments, task)
    set_rank(task.rank)  # decides who logs
    precision = config.trainer.get("float32_matmul_precision")
    if precision is not None:
        torch.set_float32_matmul_precision(precision)
    everything = [*callbacks, *build_callbacks(config)]
    trainer = Trainer(
        **{
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "num_sanity_val_steps": 0,
            "profiler": Unprofiled(),
            **arguments,
            "strategy": _strategy(arguments, task),
        },
        logger=build_loggers(config),
        callbacks=everything,
        # Lightning adds a ModelCheckpoint of its own where it finds none.
        enable_checkpointing=any(isinstance(callback, Checkpoint) for callback in everything),
        plugins=[TaskEnvironment(task), BackgroundCheckpointIO()],
        default_root_dir=Path(config.exp_dir),
        use_distributed_sampler=False,
    )
    leave_signals_alone(trainer)
    return trainer


def trainer_arguments(config: DictConfig) -> dict[str, Any]:
    """The arguments in `config.trainer`, checked by name.

    Raises:
        UserError: naming the key and the nearest valid one, or where it is to be given instead.
    """
    node = OmegaConf.to_container(config.trainer, resolve=True)
    assert isinstance(node, dict)
    arguments = {str(key): value for key, value in node.items()}
    check_trainer_keys(arguments)
    return {key: value for key, value in arguments.items() if key not in (*OURS, *UNUSED)}


def build_loggers(config: DictConfig) -> list[Logger]:
    """The loggers of the group `logger`, in its order; null entries are left out."""
    return [instantiate(node) for node in (config.get("logger") or {}).values() if node is not None]


def build_callbacks(config: DictConfig) -> list[Callback]:
    """The user's callbacks, in the order of the configuration; null entries are left out."""
    return [instantiate(node) for node in (config.get("callbacks") or {}).values() if node is not None]


def _made(key: str, node: dict[str, Any]) -> Any:
    """The object that `trainer.<key>` describes by its `_target_`."""
    try:
        return instantiate(node)
    except InstantiationException as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        raise UserError(f"trainer.{key}: {reason}") from error


def _accelerator(given: Any, config: DictConfig) -> Any:
    """`auto` follows the resources: the CPU where the job has no GPU, even if the machine has one."""
    if given != "auto":
        return given
    gpus = OmegaConf.select(config, "resources.train.gpus_per_node")
    return "cpu" if not gpus else "gpu"


def _check_ranks(arguments: dict[str, Any], task: Task) -> None:
    devices, nodes = arguments.get("devices", "auto"), arguments.get("num_nodes", 1)
    if isinstance(devices, int) and devices * nodes != task.world_size:
        raise UserError(
            f"trainer.num_nodes={nodes} times trainer.devices={devices} are {devices * nodes} ranks, but"
            f" {task.world_size} launched; both follow from resources.train (nodes, tasks_per_node)"
        )


def _strategy(arguments: dict[str, Any], task: Task) -> Any:
    given, accelerator = arguments.get("strategy", "auto"), arguments["accelerator"]
    if given != "auto" or task.world_size == 1:
        return given
    return DDPWithoutReducer(
        # Buffers are per rank, and skipped batches put them back: rank 0's must not overwrite them.
        broadcast_buffers=False,
        find_unused_parameters=False,
        process_group_backend="nccl"
        if (accelerator in ("gpu", "cuda") or isinstance(accelerator, CUDAAccelerator))
        and torch.cuda.is_available()
        else "gloo",
    )
