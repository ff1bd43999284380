"""Names of trials: readable, safe as names of folders and in overrides, at most 120 characters."""

import math
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

LONGEST = 120
_LONGEST_VALUE = 24
_HASH = 8


def labels(keys: Sequence[str]) -> dict[str, str]:
    """A short name for each key that fits none of the others: its last part, with one before it if need be.

    `optimizers.generator.optimizer.lr` is `lr` alone, and `generator.lr` beside the discriminator's.
    """
    return {key: _label(key, [other for other in keys if other != key]) for key in keys}


def trial_name(values: Mapping[str, Any], digest: str, *, hash_length: int = _HASH) -> str:
    """`generator.lr-1e-4__discriminator.lr-2e-4__<hash>`.

    Args:
        values: swept key -> value; None of them: `trial__<hash>`.
        digest: the trial's identity in hexadecimal digits.
        hash_length: how many of them are shown.
    """
    short = labels(list(values))
    shown = [f"{_safe(short[key]) or 'key'}-{value_text(value)}" for key, value in values.items()]
    longest = LONGEST - hash_length - 2
    text = "__".join(shown or ["trial"])[:longest].rstrip("_-.")
    return f"{text}__{digest[:hash_length]}"


def value_text(value: Any) -> str:
    """A value in letters that a folder's name may have: 0.0001 is 1e-4, [3, 7] is 3-7."""
    if value is None or isinstance(value, bool):
        return str(value).lower().replace("none", "null")
    if isinstance(value, float):
        return number_text(value)
    if isinstance(value, list):
        return _cut("-".join(value_text(inner) for inner in value) or "empty")
    if isinstance(value, dict):
        return _cut("-".join(f"{_safe(str(k))}-{value_text(v)}" for k, v in value.items()) or "empty")
    return _cut(_safe(str(value)) or "empty")


def number_text(value: float) -> str:
    """The shortest text that reads as `value`: 1e-4, 0.05, 2.5e-5."""
    if not math.isfinite(value):
        return str(value)
    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    assert isinstance(exponent, int)
    figures = "".join(map(str, digits))
    power = exponent + len(figures) - 1
    mantissa = figures[0] + (f".{figures[1:]}" if len(figures) > 1 else "")
    scientific = f"{'-' * sign}{mantissa}e{power}"
    plain = repr(value)
    return plain if len(plain) <= len(scientific) else scientific


def _label(key: str, others: Sequence[str]) -> str:
    *before, last = re.split(r"[./]", key)
    rivals = [re.split(r"[./]", other) for other in others]
    rivals = [parts[:-1] for parts in rivals if parts[-1] == last]
    if not rivals:
        return last
    for part in reversed(before):
        if not any(part in parts for parts in rivals):
            return f"{part}.{last}"
    return key


def _safe(text: str) -> str:
    """No blank, slash, or letter that Hydra's overrides or a shell take for their own; no `__` either."""
    return re.sub(r"_{2,}", "_", re.sub(r"[^A-Za-z0-9._+-]+", "-", text)).strip("-_.")


def _cut(text: str) -> str:
    return text[:_LONGEST_VALUE].rstrip("-_.")
