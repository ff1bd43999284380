"""Names of trials: readable, safe as names of folders and in overrides, at most 120 characters."""

import math
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

MAX_LENGTH = 120
_MAX_VALUE_LENGTH = 24
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
    parts = [f"{_safe(short[key]) or 'key'}-{value_text(value)}" for key, value in values.items()]
    max_length = MAX_LENGTH - hash_length - 2
    text = "__".join(parts or ["trial"])[:max_length].rstrip("_-.")
    return f"{text}__{digest[:hash_length]}"


def value_text(value: Any) -> str:
    """A value in characters that are safe in a folder's name: 0.0001 is 1e-4, [3, 7] is 3-7."""
    if value is None or isinstance(value, bool):
        return str(value).lower().replace("none", "null")
    if isinstance(value, float):
        return number_text(value)
    if isinstance(value, list):
        return _truncated("-".join(value_text(inner) for inner in value) or "empty")
    if isinstance(value, dict):
        return _truncated("-".join(f"{_safe(str(k))}-{value_text(v)}" for k, v in value.items()) or "empty")
    return _truncated(_safe(str(value)) or "empty")


def number_text(value: float) -> str:
    """The shortest text that reads as `value`: 1e-4, 0.05, 2.5e-5."""
    if not math.isfinite(value):
        return str(value)
    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    assert isinstance(exponent, int)
    significant = "".join(map(str, digits))
    power = exponent + len(significant) - 1
    mantissa = significant[0] + (f".{significant[1:]}" if len(significant) > 1 else "")
    scientific = f"{'-' * sign}{mantissa}e{power}"
    plain = repr(value)
    return plain if len(plain) <= len(scientific) else scientific


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


def _safe(text: str) -> str:
    """Without blanks, slashes, `__`, and characters that are special in Hydra's overrides or a shell."""
    return re.sub(r"_{2,}", "_", re.sub(r"[^A-Za-z0-9._+-]+", "-", text)).strip("-_.")


def _truncated(text: str) -> str:
    return text[:_MAX_VALUE_LENGTH].rstrip("-_.")
