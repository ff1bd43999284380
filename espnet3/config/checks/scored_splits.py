"""Checks what stage 3 scores, and by what: names of test sets, `validate.splits` and `validate.checkpoint`."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from espnet3.errors import UserError, nearest, suggestion

SPLITS = ("train", "valid", "test")
"""What `validate.splits` may name besides test sets; `test` means all test sets."""
CHECKPOINTS = ("best", "last")
"""What `validate.checkpoint` takes besides a file."""
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")


def check_scored_splits(dataset: Any, validate: Any) -> None:
    """Check the plain `dataset` and `validate` blocks of a configuration.

    Raises:
        UserError: a test set has no valid name, `validate.splits` names something else, or
            `validate.checkpoint` no checkpoint.
    """
    entries = dataset.get("test") if isinstance(dataset, Mapping) else None
    names = []
    for position, entry in enumerate(entries if isinstance(entries, Sequence) else ()):
        name = entry.get("name") if isinstance(entry, Mapping) else None
        if isinstance(name, str):
            check_test_set_name(name, f"dataset.test[{position}].name")
            names.append(name)
    if not isinstance(validate, Mapping):
        return
    splits = validate.get("splits")
    if splits is not None and (not isinstance(splits, list) or not splits):
        raise UserError(
            f"validate.splits={splits}: takes a list of splits and test sets, such as [valid, test]"
        )
    for split in splits or ():
        check_split(split, names)
    check_choice_of_checkpoint(validate.get("checkpoint"))


def check_choice_of_checkpoint(choice: Any) -> None:
    """Check `validate.checkpoint`, as far as is known before there is a checkpoint.

    Raises:
        UserError: it is neither `best`, `last`, nor a name of a file.
    """
    if choice in (None, *CHECKPOINTS):
        return
    if not isinstance(choice, str) or not (
        choice.endswith(".ckpt") or "/" in choice or Path(choice).is_file()
    ):
        hint = nearest(str(choice), CHECKPOINTS)
        raise UserError(
            f"validate.checkpoint={choice}: takes best, last or a file (*.ckpt)"
            f"{f'; did you mean {hint}?' if hint else ''}"
        )


def check_test_set_name(name: str, where: str) -> None:
    """Check the name of a test set, which names a folder and metrics.

    Raises:
        UserError: naming `where` it is given.
    """
    if name in ("train", "valid") or not _NAME.fullmatch(name):
        raise UserError(
            f"{where}={name}: takes letters, digits and _ . + - as in test_clean, but not train or valid"
        )


def check_split(split: Any, test_sets: Sequence[str]) -> None:
    """Check one entry of `validate.splits`.

    Raises:
        UserError: it is neither a split nor a test set.
    """
    known = list(dict.fromkeys([*SPLITS, *test_sets]))
    if split not in known:
        hint = suggestion(str(split), known, otherwise=f"known are {', '.join(known)}")
        raise UserError(f"validate.splits: {split} is no split and no test set; {hint}")
