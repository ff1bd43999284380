"""Parses the output of `scontrol --oneliner show …`."""

import re


def fields(line: str) -> dict[str, str]:
    """The `Key=value` fields of one line; a value with blanks is cut after its first word."""
    return dict(word.split("=", 1) for word in line.split() if "=" in word)


def indices(text: str) -> list[int]:
    """The indices of an array's elements: "0-3,8%2" is [0, 1, 2, 3, 8], and "0-4:2" [0, 2, 4]."""
    found: list[int] = []
    for first, last, step in re.findall(r"(\d+)(?:-(\d+))?(?::(\d+))?", text.partition("%")[0]):
        found += range(int(first), int(last or first) + 1, int(step or 1))
    return found
