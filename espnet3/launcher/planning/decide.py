"""Whether a stage must run: its record compared with the current configuration, code and files."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from omegaconf import DictConfig

from espnet3.config.fingerprint import changes, code_files, stage_part
from espnet3.errors import UserError, short_path
from espnet3.rundir.files.reading import files_in
from espnet3.rundir.layout import stage_home
from espnet3.rundir.records.record import (
    Record,
    briefly,
    changed_code,
    changed_files,
    file_states,
    hash_files,
    missing_outputs,
    read_record,
)
from espnet3.stage_table import STAGES, label

LONGER = ("trainer.max_epochs", "trainer.max_steps")
"""The only keys that may be raised to continue a training."""


@dataclass(frozen=True)
class Decision:
    """What to do with a stage, and why."""

    action: Literal["skip", "run", "continue", "from_scratch"]
    """skip: it is done; run: from its start; continue: a training from its last checkpoint;
    from_scratch: a training from its start, after the old one is moved aside."""
    reason: str = ""


def new_record(config: DictConfig, stage: str) -> Record:
    """The record of `stage` if it started now; its files are those that are known before it runs."""
    recipe_dir = Path(config.recipe_dir)
    part = stage_part(config, stage)
    code = code_files(part, (recipe_dir, recipe_dir.parent))
    reads = STAGES[stage].reads
    inputs = [Path(path) for path in config.manifests.values()] if "manifests" in reads else []
    if "statistics" in reads:
        statistics = stage_home(config, "collect_stats")
        inputs += [*statistics.glob("*/*_stats.npz"), *statistics.glob("*/*_shape")]
    return Record(part=part, code=hash_files(code, recipe_dir), files=file_states(inputs, recipe_dir))


def decide(config: DictConfig, stage: str, *, force: bool = False) -> Decision:
    """Compare the record of `stage` with the record it would get now.

    Raises:
        UserError: when the training in the run directory was started with another configuration.
    """
    home, trains = stage_home(config, stage), STAGES[stage].trains
    old, new = read_record(home, stage), new_record(config, stage)
    if old is None or (trains and not files_in(home / "checkpoints", "*.ckpt")):
        return Decision("run", "forced" if force else "")
    if trains:
        return _decide_training(config, old, new, force)
    if force:
        return Decision("run", "forced")
    if not old.done:
        return Decision("run", "the last attempt did not finish")
    differences = changes(old.part, new.part) or _other_changes(old, new, Path(config.recipe_dir))
    return Decision("run", briefly(differences)) if differences else Decision("skip")


def check_model_unchanged(config: DictConfig) -> None:
    """Before a validation alone: the model must be the one that was trained.

    Raises:
        UserError: listing old → new.
    """
    trained = read_record(stage_home(config, "train"), "train")
    if trained is None:
        return
    old = {key: value for key, value in trained.part.items() if key.startswith("model.")}
    new = {key: value for key, value in stage_part(config, "train").items() if key.startswith("model.")}
    differences = changes(old, new)
    if differences:
        raise UserError(
            f"{short_path(config.exp_dir)} was trained with another model: {'; '.join(differences)}. "
            "Give the overrides of that training, or its tag="
        )


def check_inputs(config: DictConfig, stages: list[str]) -> None:
    """Check that the files exist which `stages` need from earlier stages.

    Raises:
        UserError: naming the missing file and the stage that makes it.
    """
    if "prepare" not in stages and any("manifests" in STAGES[stage].reads for stage in stages):
        for path in config.manifests.values():
            if not Path(path).is_file():
                raise UserError(f"{short_path(path)} is missing: {label('prepare')} makes it, use --stage 0")
    reader = next((stage for stage in stages if "statistics" in STAGES[stage].reads), None)
    if reader is not None and "collect_stats" not in stages:
        folder = stage_home(config, "collect_stats")
        is_used = _relative(config, folder) in "\n".join(
            str(value) for key, value in stage_part(config, reader).items() if key != "stats_dir"
        )
        record = read_record(folder, "collect_stats")
        if is_used and (record is None or not record.done):
            raise UserError(f"no statistics in {folder}: {label('collect_stats')} makes them, use --stage 1")
    if "training" in STAGES[stages[0]].reads and read_record(stage_home(config, "train"), "train") is None:
        raise UserError(
            f"{short_path(config.exp_dir)} has no training: {label('train')} makes one, use --stage 2, "
            "or give its tag="
        )


def _relative(config: DictConfig, folder: Path) -> str:
    """The path of `folder` as `stage_part` writes paths below the recipe."""
    return str(folder).replace(f"{config.recipe_dir}/", "./")


def _decide_training(config: DictConfig, old: Record, new: Record, force: bool) -> Decision:
    if force:
        return Decision("from_scratch", "forced")
    raised = {key for key in LONGER if _is_longer(old.part.get(key), new.part.get(key))}
    differences = changes(
        {key: value for key, value in old.part.items() if key not in raised},
        {key: value for key, value in new.part.items() if key not in raised},
    )
    if differences:
        raise UserError(
            f"{short_path(config.exp_dir)} holds a training with another configuration: "
            f"{'; '.join(differences)}. Give tag=NAME for another run directory, "
            "or --force to move the old training aside"
        )
    root = Path(config.recipe_dir)
    inputs = changed_files(old, root)
    code = changed_code(old.code, new.code)
    if inputs or (code and old.done):
        return Decision("from_scratch", briefly([*inputs, *code]))
    if raised:
        return Decision("continue", briefly(changes(old.part, new.part)))
    if code:
        return Decision("continue", f"with other code: {briefly(code)}")
    if not old.done:
        return Decision("continue", "the last attempt did not finish")
    missing = missing_outputs(old, root)
    return Decision("continue", briefly(missing)) if missing else Decision("skip")


def _other_changes(old: Record, new: Record, root: Path) -> list[str]:
    return changed_code(old.code, new.code) + changed_files(old, root) + missing_outputs(old, root)


def _is_longer(old: object, new: object) -> bool:
    """Whether a limit was raised; None and -1 are no limit."""
    if old == new or old in (None, -1):
        return False
    return new in (None, -1) or (isinstance(old, int) and isinstance(new, int) and new > old)
