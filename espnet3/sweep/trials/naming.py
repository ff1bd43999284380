"""Names of trials: readable, safe as names of folders and in overrides, at most 120 characters."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from espnet3.sweep.trials.value_text import name_text, safe_text

MAX_LENGTH = 120
_HASH_LENGTH = 8


def labels(keys: Sequence[str]) -> dict[str, str]:
    """A short unique label for each key: its last part, preceded by another part where that is ambiguous.

    `optimizers.generator.optimizer.lr` is `lr`, or `generator.lr` if the discriminator's is swept, too.
    """
    return {key: _label(key, [other for other in keys if other != key]) for key in keys}


def trial_name(values: Mapping[str, Any], digest: str, *, hash_length: int = _HASH_LENGTH) -> str:
    """`generator.lr-1e-4__discriminator.lr-2e-4__<hash>`.

    Args:
        values: swept key -> value; if empty, the name is `trial__<hash>`.
        digest: the trial's identity in hexadecimal digits.
        hash_length: how many digits the name has.
    """
    short = labels(list(values))
    parts = [f"{safe_text(short[key]) or 'key'}-{name_text(value)}" for key, value in values.items()]
    max_length = MAX_LENGTH - hash_length - 2
    text = "__".join(parts or ["trial"])[:max_length].rstrip("_-.")
    return f"{text}__{digest[:hash_length]}"


def _label(key: str, others: Sequence[str]) -> str:
    *before, last = re.split(r"[./]", key)
    split = [re.split(r"[./]", other) for other in others]
    same_last = [parts[:-1] for parts in split if parts[-1] == last]
    if not same_last:
        return last
    for part in reversed(before):
        if not any(part in parts for parts in same_last):
            return f"{part}.{last}"
    return key
