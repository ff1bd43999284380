"""Stage 3: score the trained model by the recipe's evaluator, and draw the learning curve."""

import hashlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig, OmegaConf

from espnet3.config.checks.scored_splits import check_split
from espnet3.config.checks.targets.keys import VALIDATE_KEYS
from espnet3.config.fingerprint import code_files, stage_part
from espnet3.errors import UserError, no_file, no_such, short_path
from espnet3.number_text import counted
from espnet3.rundir.curves import read_curves
from espnet3.rundir.records.code import hash_code
from espnet3.rundir.records.inputs import file_states
from espnet3.rundir.scores import Scores, read_scores, scores_path, with_earlier, write_scores
from espnet3.rundir.stop import Stopped
from espnet3.rundir.task import StageResult, Task
from espnet3.stages.importing import quick_imports

if TYPE_CHECKING:
    import torch

    from espnet3.components.data.combined_dataset import CombinedDataset
    from espnet3.components.data.data_organizer import DataOrganizer

log = logging.getLogger(__name__)


def run(config: DictConfig, task: Task) -> StageResult:
    """Call the evaluator `config.validate` on each of `validate.splits` with one checkpoint.

    The evaluator is `__call__(model, dataset, split, directory, task) -> dict[str, float]`; the directory,
    `<exp_dir>/validate/<split>`, is its own. Each test set is a split with its own name. In
    `validate/metrics.json` stay the metrics of splits that the same checkpoint and evaluator were given
    earlier. Rank 0 does it; further ranks have nothing to do. A stage that is stopped or fails keeps the
    metrics of an earlier one.

    Raises:
        UserError: there is no such checkpoint, split or evaluator, or the weights are of another model.
        Stopped: the task was asked to stop.
    """
    with quick_imports():
        from espnet3.components.checkpoint.ranking import RANKING
        from espnet3.components.data.checking.left_out import build_usable
        from espnet3.components.data.instantiation import instantiate_node

    directory = Path(config.exp_dir) / "validate"
    if task.rank > 0:
        return StageResult("nothing to do on this rank", where=directory)
    splits = list(config.validate.get("splits") or ("valid", "test"))
    evaluator = instantiate_node(_evaluator_node(config.validate))
    checkpoint = find_checkpoint(config)
    organizer = build_usable(config)
    datasets = scored_datasets(organizer, splits)
    model = _load_model(instantiate_node(config.model), checkpoint).to(_device(config))

    scores: dict[str, dict[str, float]] = {}
    for split, dataset in datasets.items():
        if task.stop.is_set():
            raise Stopped(f"{split} was not scored; the stage will start from scratch")
        (directory / split).mkdir(parents=True, exist_ok=True)
        scores[split] = dict(evaluator(model, dataset, split, directory / split, task))
        metrics_text = ", ".join(f"{name} {value:.4g}" for name, value in scores[split].items())
        log.info("%s: %s; see %s", split, metrics_text, short_path(directory / split))
    exp_dir = Path(config.exp_dir)
    curves = exp_dir / "csv" / "metrics.csv"
    picture = _draw(curves, directory / "learning_curve.png", title=exp_dir.name)
    shown = checkpoint.relative_to(exp_dir) if checkpoint.is_relative_to(exp_dir) else checkpoint
    all_scores = with_earlier(
        Scores(str(shown), scorer_hash(config, checkpoint), scores), read_scores(exp_dir)
    )
    write_scores(exp_dir, all_scores)
    utterances = sum(len(dataset) for dataset in datasets.values())
    return StageResult(
        summary=f"{counted(utterances, 'utterance')} of {' and '.join(datasets)} by {checkpoint.name}",
        where=directory,
        outputs=[scores_path(exp_dir), *picture],
        # the ranking too: another checkpoint may be the best now, and this one still be there
        inputs=[
            *(checkpoint, checkpoint.with_name(RANKING), curves),
            *dict.fromkeys(path for data in datasets.values() for path in data.files()),
        ],
        metrics=all_scores.flat(),
    )


def find_checkpoint(config: DictConfig) -> Path:
    """The file that `validate.checkpoint` means: `best` (the default), `last`, or a path.

    A relative path is looked for in the run directory, then in the current one.

    Raises:
        UserError: there is none; the message names the stage that makes it.
    """
    from espnet3.components.checkpoint.ranking import best_checkpoint, last_checkpoint

    choice = str(config.validate.get("checkpoint") or "best")
    folder = Path(config.exp_dir) / "checkpoints"
    if choice == "best":
        try:
            return best_checkpoint(folder)
        except UserError as error:
            raise UserError(f"{error}: stage 2 (train) makes it, use --stage 2") from error
    if choice == "last":
        last = last_checkpoint(folder)
        if last is None:
            raise UserError(f"no last.ckpt in {folder}: stage 2 (train) makes it, use --stage 2")
        return last
    for path in (Path(config.exp_dir) / choice, Path(choice)):
        if path.is_file():
            return path
    problem = no_file(choice) or no_such(choice, "file")
    raise UserError(f"validate.checkpoint={choice}: takes best, last or a file, and {problem}")


def _evaluator_node(node: DictConfig) -> DictConfig:
    if "_target_" not in node:
        raise UserError("validate._target_ is missing: the recipe's evaluator, such as decode.GreedyDecoding")
    return OmegaConf.masked_copy(node, [str(key) for key in node if key not in VALIDATE_KEYS])


def scored_datasets(organizer: "DataOrganizer", splits: Sequence[str]) -> "dict[str, CombinedDataset]":
    """What `validate.splits` means: each split or test set by its name; `test` means all test sets.

    Raises:
        UserError: there is no such split or test set, or it has no utterances.
    """
    test_sets = list(organizer.test.entries)
    datasets: dict[str, CombinedDataset] = {}
    for split in splits:
        check_split(split, test_sets)
        if split == "test":
            found = {name: organizer.test.only(name) for name in test_sets} or {split: organizer.test}
        elif split in test_sets:
            found = {split: organizer.test.only(split)}
        else:
            found = {split: getattr(organizer, split)}
        for name, dataset in found.items():
            if not len(dataset):
                key = split if name == split else f"test: {name}"
                raise UserError(f"validate.splits: {split}, but dataset.{key} has no utterances")
        datasets |= found
    return datasets


def scorer_hash(config: DictConfig, checkpoint: Path) -> str:
    """Names what scores: the checkpoint, and configuration and code of stage 3 but for what it scores."""
    part = {
        key: value
        for key, value in stage_part(config, "validate").items()
        if not key.startswith(("dataset.test", "dataset.on_bad", "manifests.", "validate.splits"))
    }
    recipe_dir = Path(config.recipe_dir)
    code = hash_code(code_files(part, (recipe_dir, recipe_dir.parent)), recipe_dir)
    states = file_states([checkpoint], recipe_dir)
    text = json.dumps([part, code, states], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _load_model(model: "torch.nn.Module", checkpoint: Path) -> "torch.nn.Module":
    """Put the weights into the model, all of them, and set it to evaluation mode."""
    from espnet3.components.checkpoint.reading import DamagedError, read_checkpoint

    try:
        content = read_checkpoint(checkpoint)
    except DamagedError as error:
        others = "validate.checkpoint takes another one: last, or a file"
        raise UserError(f"{short_path(checkpoint)} can't be scored: {error}; {others}") from error
    weights = content.get("state_dict") if isinstance(content, dict) else None
    if not isinstance(weights, dict):
        raise UserError(f"{short_path(checkpoint)} is no checkpoint: it holds no state_dict")
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise UserError(
            f"{short_path(checkpoint)} is of another model: {' '.join(str(error).split())}"
        ) from error
    return model.eval()


def _device(config: DictConfig) -> str:
    import torch

    return "cuda" if config.resources.validate.gpus_per_node and torch.cuda.is_available() else "cpu"


def _draw(file: Path, picture: Path, title: str) -> list[Path]:
    """Draw the learning curve from a CSV file of metrics, if there is one; returns the files written."""
    from espnet3.components.learning_curve import draw_learning_curve

    curves = read_curves(file)
    if not curves:
        return []
    draw_learning_curve(curves, picture, title=title)
    return [picture]
