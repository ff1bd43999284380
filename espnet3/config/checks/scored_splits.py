"""Checks what stage 3 scores: the names of the test sets, and `validate.splits`."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from espnet3.errors import UserError, suggestion

SPLITS = ("train", "valid", "test")
"""What `validate.splits` may name besides test sets; `test` means all test sets."""
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")


def check_scored_splits(dataset: Any, validate: Any) -> None:
    """Check the plain `dataset` and `validate` blocks of a configuration.

    Raises:
        UserError: a test set has no valid name, or `validate.splits` names something else.
    """
    entries = dataset.get("test") if isinstance(dataset, Mapping) else None
    names = []
    for position, entry in enumerate(entries if isinstance(entries, Sequence) else ()):
        name = entry.get("name") if isinstance(entry, Mapping) else None
        if isinstance(name, str):
            check_test_set_name(name, f"dataset.test[{position}].name")
            names.append(name)
    splits = validate.get("splits") if isinstance(validate, Mapping) else None
    for split in splits or ():
        check_split(split, names)


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
