"""Whether a stage must run: its record compared with the current configuration, code and files."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from omegaconf import DictConfig

from espnet3.config.fingerprint import changes, code_files, portable, stage_manifests, stage_part
from espnet3.errors import UserError, no_file, short_path
from espnet3.rundir.files.reading import files_in
from espnet3.rundir.files.writable import folder_problem
from espnet3.rundir.layout import stage_home, statistics_files
from espnet3.rundir.records.code import changed_code, hash_code
from espnet3.rundir.records.inputs import file_states
from espnet3.rundir.records.record import (
    Record,
    briefly,
    changed_inputs,
    changed_outputs,
    missing_outputs,
    read_record,
)
from espnet3.stage_table import LONGER, STAGES, is_longer, label

_MOST_SHOWN = 10
"""Changes that a message lists."""


@dataclass(frozen=True)
class Decision:
    """What to do with a stage, and why."""

    action: Literal["skip", "run", "continue", "from_scratch"]
    """skip: it is done; run: from its start; continue: a training from its last checkpoint;
    from_scratch: a training from its start, after the old one is moved aside."""
    reason: str = ""


def new_record(config: DictConfig, stage: str) -> Record:
    """The record of `stage` if it started now; its files are those that are known before it runs."""
    record = _current(config, stage)
    reads = STAGES[stage].reads
    inputs = [Path(path) for path in stage_manifests(config, stage).values()] if "manifests" in reads else []
    if "statistics" in reads:
        inputs += statistics_files(config)
    record.files = file_states(inputs, Path(config.recipe_dir))
    return record


def decide(config: DictConfig, stage: str, *, force: bool = False, remade: Collection[Path] = ()) -> Decision:
    """Compare the record of `stage` with the record it would get now.

    Args:
        config: the resolved configuration.
        stage: its name.
        force: run it although it is done.
        remade: directories that stages before it will fill: what changed in them is not known yet.

    Raises:
        UserError: the training in the run directory was made from something else.
    """
    home, trains = stage_home(config, stage), STAGES[stage].trains
    old, new = read_record(home, stage), _current(config, stage)
    if old is None or (trains and not files_in(home / "checkpoints", "*.ckpt")):
        return Decision("run", "forced" if force else "")
    if trains:
        return _decide_training(config, old, new, force, remade)
    if force:
        return Decision("run", "forced")
    if not old.done:
        return Decision("run", "the last attempt did not finish")
    root = Path(config.recipe_dir)
    differences = (
        changes(old.part, new.part)
        or changed_code(old.code, new.code)
        or changed_inputs(old, root)
        or missing_outputs(old, root)
        or changed_outputs(old, root)
    )
    return Decision("run", briefly(differences)) if differences else Decision("skip")


def decide_all(config: DictConfig, stages: Sequence[str], *, force: bool = False) -> list[Decision]:
    """A decision for each of `stages`, which run in this order; nothing has run yet.

    Raises:
        UserError: see `decide`.
    """
    decisions: list[Decision] = []
    remade: list[Path] = []
    for stage in stages:
        decisions.append(decide(config, stage, force=force, remade=remade))
        if decisions[-1].action != "skip" and STAGES[stage].is_shared:
            remade.append(stage_home(config, stage))
    return decisions


def _current(config: DictConfig, stage: str) -> Record:
    """The record of `stage` now, without files."""
    recipe_dir = Path(config.recipe_dir)
    part = stage_part(config, stage)
    return Record(part=part, code=hash_code(code_files(part, (recipe_dir, recipe_dir.parent)), recipe_dir))


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


def check_inputs(config: DictConfig, stages: list[str], *, force: bool = False) -> None:
    """Check that the files exist which `stages` need from earlier ones, and that they can fill their folders.

    Raises:
        UserError: naming the missing file and the stage that makes it, or the folder.
    """
    for stage in (stage for stage in stages if STAGES[stage].is_shared):
        problem = folder_problem(home := stage_home(config, stage))
        if problem and decide(config, stage, force=force).action != "skip":
            key = STAGES[stage].directory
            raise UserError(f"{label(stage)} can't write {key}={home}: {problem}: give another {key}")
    is_made = "prepare" in stages
    is_skipped = is_made and decide(config, "prepare", force=force).action == "skip"
    hint = f"{label('prepare')} makes it, use --stage 0"
    if is_skipped:
        hint = f"{label('prepare')} is done and has not made it; give manifests.NAME, or --force"
    readers = [stage for stage in stages if "manifests" in STAGES[stage].reads]
    for stage in readers:
        for name, path in stage_manifests(config, stage).items():
            if problem := no_file(path):
                raise UserError(f"manifests.{name}={path} {problem}")
            if not Path(path).is_file() and (not is_made or is_skipped):
                raise UserError(f"{short_path(path)} is missing: {hint}")
    reader = next((stage for stage in stages if "statistics" in STAGES[stage].reads), None)
    if reader is not None and "collect_stats" not in stages:
        folder = stage_home(config, "collect_stats")
        is_used = portable(str(folder), str(config.recipe_dir)) in "\n".join(
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


def _decide_training(
    config: DictConfig, old: Record, new: Record, force: bool, remade: Collection[Path]
) -> Decision:
    if force:
        return Decision("from_scratch", "forced")
    root = Path(config.recipe_dir)
    raised = {key for key in LONGER if is_longer(old.part.get(key), new.part.get(key))}
    code = changed_code(old.code, new.code)
    differences = [
        *changes(
            {key: value for key, value in old.part.items() if key not in raised},
            {key: value for key, value in new.part.items() if key not in raised},
        ),
        *(code if old.done else ()),  # an unfinished one may continue with mended code
        *changed_inputs(old, root, ignored=remade),
    ]
    if differences:
        kind, more = "a finished training" if old.done else "a training", len(differences) - _MOST_SHOWN
        shown = "; ".join(differences[:_MOST_SHOWN]) + (f" (and {more} more)" if more > 0 else "")
        raise UserError(
            f"{short_path(config.exp_dir)} holds {kind} that was made from something else: {shown}. Give"
            " tag=NAME for another run directory, or --force to move the old training aside"
        )
    if raised:
        return Decision("continue", briefly(changes(old.part, new.part)))
    if code:
        return Decision("continue", f"with other code: {briefly(code)}")
    if not old.done:
        return Decision("continue", "the last attempt did not finish")
    missing = missing_outputs(old, root)
    return Decision("continue", briefly(missing)) if missing else Decision("skip")
