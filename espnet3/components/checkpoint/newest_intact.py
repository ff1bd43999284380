"""Choose the checkpoint to continue from: the newest that is intact and belongs to this training."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer

from espnet3.components.checkpoint import folder
from espnet3.components.checkpoint.atomic_io import AtomicCheckpointIO
from espnet3.components.checkpoint.held_gradients import check_parts
from espnet3.components.checkpoint.ranking import LAST
from espnet3.components.checkpoint.reading import DamagedError, read_checkpoint
from espnet3.components.checkpoint.run_state import KEY
from espnet3.components.modeling.lightning_module import ESPnetLightningModule
from espnet3.components.modeling.named.engine import check_names
from espnet3.errors import UserError, short_path
from espnet3.rundir.files.atomic import remove_torn

log = logging.getLogger(__name__)

MOST_SHOWN = 3


@dataclass(frozen=True)
class Choice:
    """The checkpoint to continue from, and those that were rejected."""

    path: Path | None
    """None: there is none to continue from."""
    rejected: tuple[Path, ...] = ()
    """Newer ones that training cannot continue from."""
    content: dict[str, Any] | None = None
    """What `path` holds."""


def agree_on_checkpoint(trainer: Trainer, directory: Path, module: ESPnetLightningModule) -> Path | None:
    """The checkpoint that all ranks continue from; rank 0 chooses it, and tidies the folder.

    Partial files of a killed attempt are removed, newer checkpoints that cannot be used are renamed, and
    last.ckpt becomes the one that is used. What rank 0 has read is kept for the fit that follows. A
    collective: the process group is initialized.

    Raises:
        UserError: on all ranks, see `newest_intact`.
    """
    chosen: tuple[str | None, str | None] = (None, None)
    if trainer.is_global_zero and directory.is_dir():
        try:
            remove_torn(directory)
            choice = newest_intact(directory, module)
            for path in choice.rejected:
                folder.set_aside(path)
            if choice.path is not None:
                folder.link_last(choice.path)
                chosen = (str(choice.path), None)
                checkpoint_io = trainer.strategy.checkpoint_io
                if choice.content is not None and isinstance(checkpoint_io, AtomicCheckpointIO):
                    checkpoint_io.hold(choice.path, choice.content)
            else:
                (directory / LAST).unlink(missing_ok=True)
        except UserError as error:
            chosen = (None, str(error))
    used, mistake = trainer.strategy.broadcast(chosen)
    if mistake is not None:
        raise UserError(mistake)
    return None if used is None else Path(used)


def newest_intact(directory: Path, module: ESPnetLightningModule) -> Choice:
    """The newest checkpoint in `directory` that training can continue from; logs why others are left out.

    Only one that was read and is wrong is left out.

    Raises:
        UserError: there are intact checkpoints, and all belong to another training; or one can't be read now.
    """
    rejected: list[Path] = []
    foreign: list[str] = []
    for path in folder.newest_first(directory):
        checkpoint, problem = read_whole(path)
        if checkpoint is not None:
            problem = check_parts(checkpoint, directory)
        if checkpoint is not None and problem is None:
            problem = model_mismatch(checkpoint, module)
            if problem is None:
                return Choice(path, tuple(rejected), checkpoint)
            foreign.append(f"{path.name}: {problem}")
        log.warning("%s is not used: %s", short_path(path), problem)
        rejected.append(path)
    if foreign:
        raise UserError(
            f"{short_path(directory)} holds checkpoints of another training ({foreign[0]}); give tag=NAME for"
            " another run directory, or --force to move the old training aside"
        )
    if rejected:
        log.warning("no checkpoint in %s is intact: training starts from scratch", short_path(directory))
    return Choice(None, tuple(rejected))


def read_whole(path: Path) -> tuple[dict[str, Any] | None, str | None]:
    """The checkpoint's content, or None and what is wrong with it.

    Raises:
        UserError: it can't be read now.
    """
    try:
        content = read_checkpoint(path)
    except FileNotFoundError:
        return None, "it is gone"
    except DamagedError as error:
        return None, str(error)
    return (content, None) if isinstance(content, dict) else (None, f"it holds a {type(content).__name__}")


def model_mismatch(checkpoint: Mapping[str, Any], module: ESPnetLightningModule) -> str | None:
    """Why an intact checkpoint does not belong to this training; None when it does."""
    if "state_dict" not in checkpoint or KEY not in checkpoint:
        return "it is not a checkpoint of a training by this program"
    if "progress" not in checkpoint[KEY][0]:
        return "it was written by an earlier version of this program"
    saved = {name: tuple(tensor.shape) for name, tensor in checkpoint["state_dict"].items()}
    own = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    different = sorted(name for name in saved.keys() | own.keys() if saved.get(name) != own.get(name))
    if different:
        shown = ", ".join(
            f"{name} is {saved.get(name, 'absent')} in the checkpoint, {own.get(name, 'absent')} in the model"
            for name in different[:MOST_SHOWN]
        )
        more = f" and {len(different) - MOST_SHOWN} more" if len(different) > MOST_SHOWN else ""
        return f"it is of another model: {shown}{more}"
    try:
        check_names(
            list(checkpoint.get("espnet3", {}).get("named", {})),
            [] if module.named is None else list(module.named.config.optimizers),
        )
    except UserError as error:
        return str(error)
    return None
