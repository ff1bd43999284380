"""Numbers and counts as text, the same in names of trials, tables, log lines and reports."""

import math
import signal

_PLAIN_FROM, _PLAIN_BELOW = 0.01, 1e5
"""Numbers of this size are always written without an exponent."""


def number_text(value: float, digits: int = 6) -> str:
    """A number as people write it: `2e-4`, `0.05`, `16`, `3e6`.

    Outside of 0.01 to 1e5 it has an exponent where that is shorter. `numberText` in the report's page does
    the same.

    Args:
        value: the number; an int keeps all its digits.
        digits: significant digits of a float.
    """
    if not math.isfinite(value):
        return {math.inf: "inf", -math.inf: "-inf"}.get(value, "nan")
    if value == 0:
        return "0"
    if isinstance(value, int):
        significant, exponent, plain = str(abs(value)), len(str(abs(value))) - 1, str(value)
    else:
        mantissa, _, power_text = f"{abs(value):.{digits - 1}e}".partition("e")
        significant, exponent = mantissa.replace(".", ""), int(power_text)
        plain = _plain(float(f"{value:.{digits}g}"), digits, exponent)
    significant = significant.rstrip("0")
    fraction = f".{significant[1:]}" if len(significant) > 1 else ""
    scientific = f"{'-' * (value < 0)}{significant[0]}{fraction}e{exponent}"
    if _PLAIN_FROM <= abs(value) < _PLAIN_BELOW:
        return plain
    return plain if len(plain) <= len(scientific) else scientific


def _plain(value: float, digits: int, exponent: int) -> str:
    """Without an exponent, and without zeros at the end of a fraction."""
    decimals = max(0, digits - 1 - exponent)
    text = f"{value:.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def counted(count: int, what: str) -> str:
    """A count with its noun, which takes an s: `1 task`, `2,000 utterances`."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def signal_name(number: int) -> str:
    """`SIGKILL`, or `signal 40` where it has no name."""
    return signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
