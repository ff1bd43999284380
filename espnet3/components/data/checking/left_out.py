"""The utterances that a training leaves out (`dataset.on_bad: skip`), as the check of the data lists them.

One file for each split, in the folder of the corpus: each stage and each rank reads the same, and a stage
whose list has changed runs again, as with any other file that it reads.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from espnet3.components.data.data_organizer import DataOrganizer, build_organizer
from espnet3.components.data.manifest import broken_lines_left_out
from espnet3.config.checks.scored_splits import SPLITS
from espnet3.config.config_value import config_value
from espnet3.config.fingerprint import data_hash
from espnet3.errors import UserError, short_path
from espnet3.rundir.files.atomic import write_text
from espnet3.rundir.files.reading import parse_json
from espnet3.rundir.records.data_check import check_dir

LeftOut = Mapping[str, Mapping[int, str]]
"""Dataset of a split -> index in it -> uid."""


def build_usable(config: Any, *, test: bool = True) -> DataOrganizer:
    """The data of `config.dataset`; with `dataset.on_bad: skip` without what the check has listed.

    With `test=False` without the test sets.

    Raises:
        UserError: a mistake in the configuration or the data, or they were not checked.
    """
    node = config_value(config, "dataset")
    if (config_value(node, "on_bad") or "error") != "skip":
        return build_organizer(node, test=test)
    with broken_lines_left_out():
        organizer = build_organizer(node, test=test)
    for split in SPLITS:
        if len(getattr(organizer, split)):
            path = left_out_path(config, split)
            left_out = _read(path)
            setattr(organizer, split, getattr(organizer, split).without(left_out, path))
    return organizer


def left_out_path(config: Any, split: str) -> Path:
    """The list of a split, named after what it follows from: of two splits the earlier keeps a uid."""
    before = SPLITS[: SPLITS.index(split) + 1]
    names = "-".join(data_hash(config, f"dataset.{one}") for one in before)
    return check_dir(config) / f"left_out-{split}-{names}.json"


def write_left_out(path: Path, left_out: LeftOut) -> None:
    """Write the list, unless it is there already: a stage that has read it need not run again."""
    text = json.dumps({"format": 1, "left_out": left_out}, indent=1, sort_keys=True) + "\n"
    if not path.is_file() or path.read_bytes() != text.encode():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text)


def _read(path: Path) -> LeftOut:
    try:
        content = parse_json(path.read_text(encoding="utf-8"))["left_out"]
        return {entry: {int(index): uid for index, uid in found.items()} for entry, found in content.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"dataset.on_bad=skip: {short_path(path)} does not say what to leave out; run.sh makes it before"
            " stage 1, with check_data=quick or full"
        ) from error
