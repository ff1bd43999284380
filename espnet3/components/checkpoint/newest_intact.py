"""Which checkpoint training goes on from: the newest that is whole and belongs to this training."""

import logging
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer

from espnet3.components.checkpoint import folder
from espnet3.components.checkpoint.atomic_io import AtomicCheckpointIO
from espnet3.components.checkpoint.held_gradients import check_parts
from espnet3.components.checkpoint.ranking import LAST
from espnet3.components.checkpoint.run_state import KEY
from espnet3.components.modeling.lightning_module import ESPnetLightningModule
from espnet3.components.modeling.named.engine import check_names
from espnet3.errors import UserError, short_path
from espnet3.rundir.atomic import remove_torn

log = logging.getLogger(__name__)

MOST_SHOWN = 3


@dataclass(frozen=True)
class Choice:
    """What was found in the folder."""

    path: Path | None
    """None: there is no checkpoint to go on from."""
    rejected: tuple[Path, ...] = ()
    """Newer ones, which training cannot go on from."""


def agree_on_checkpoint(trainer: Trainer, directory: Path, module: ESPnetLightningModule) -> Path | None:
    """The checkpoint that all ranks go on from; rank 0 looks for it, and puts the folder in order.

    What a kill has torn is removed, newer checkpoints that cannot be used are set aside, and last.ckpt is
    made the one that is used. A collective: the ranks have found each other.

    Raises:
        UserError: on all ranks, see `newest_intact`.
    """
    found: tuple[str | None, str | None] = (None, None)
    if trainer.is_global_zero and directory.is_dir():
        try:
            remove_torn(directory)
            choice = newest_intact(directory, module)
            for path in choice.rejected:
                folder.set_aside(path)
            if choice.path is not None:
                folder.link_last(choice.path)
                found = (str(choice.path), None)
            else:
                (directory / LAST).unlink(missing_ok=True)
        except UserError as error:
            found = (None, str(error))
    used, mistake = trainer.strategy.broadcast(found)
    if mistake is not None:
        raise UserError(mistake)
    return None if used is None else Path(used)


def newest_intact(directory: Path, module: ESPnetLightningModule) -> Choice:
    """The newest checkpoint in `directory` that training can go on from; says why others are left out.

    Raises:
        UserError: there are intact checkpoints, and all belong to another training.
    """
    rejected: list[Path] = []
    foreign: list[str] = []
    for path in folder.newest_first(directory):
        checkpoint, problem = read_whole(path)
        if checkpoint is not None:
            problem = check_parts(checkpoint, directory)
        if checkpoint is not None and problem is None:
            problem = why_foreign(checkpoint, module)
            if problem is None:
                return Choice(path, tuple(rejected))
            foreign.append(f"{path.name}: {problem}")
        log.warning("%s is not used: %s", short_path(path), problem)
        rejected.append(path)
    if foreign:
        raise UserError(
            f"{short_path(directory)} holds checkpoints of another training ({foreign[0]}); give tag=NAME for"
            " another run directory, or --force to move the old training aside"
        )
    if rejected:
        log.warning("no checkpoint in %s can be read: training begins anew", short_path(directory))
    return Choice(None, tuple(rejected))


def read_whole(path: Path) -> tuple[dict[str, Any] | None, str | None]:
    """The checkpoint's content, or None and what is wrong with the file.

    Torch does not look at the checksums that it writes: a flipped bit would go unnoticed.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            return None, f"its part {damaged} is damaged"
        content: Any = AtomicCheckpointIO().load_checkpoint(path)
    except Exception as error:  # a damaged file may lead anywhere
        return None, f"it cannot be read ({type(error).__name__}: {str(error).splitlines()[0][:200]})"
    return (content, None) if isinstance(content, dict) else (None, f"it holds a {type(content).__name__}")


def why_foreign(checkpoint: Mapping[str, Any], module: ESPnetLightningModule) -> str | None:
    """Why an intact checkpoint is not of this training; None when it is."""
    if "state_dict" not in checkpoint or KEY not in checkpoint:
        return "it is no checkpoint of a training by this program"
    if "progress" not in checkpoint[KEY][0]:
        return "it was written by an earlier version of this program"
    saved = {name: tuple(tensor.shape) for name, tensor in checkpoint["state_dict"].items()}
    own = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    different = sorted(name for name in saved.keys() | own.keys() if saved.get(name) != own.get(name))
    if different:
        shown = ", ".join(
            f"{name} {saved.get(name, 'absent')} there, {own.get(name, 'absent')} here"
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
