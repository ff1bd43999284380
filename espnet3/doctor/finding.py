"""One line of the checklist."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """Something that was looked at: as it should be, wrong, or only good to know."""

    kind: Literal["right", "wrong", "note"]
    text: str
    advice: str = ""
    """What to do."""

    def __str__(self) -> str:
        mark = {"right": "✓", "wrong": "✗", "note": "·"}[self.kind]
        return f"{mark} {self.text}" + (f": {self.advice}" if self.advice else "")


def right(text: str) -> Finding:
    """As it should be."""
    return Finding("right", text)


def wrong(text: str, advice: str) -> Finding:
    """Wrong, and what to do about it; the command ends with 1."""
    return Finding("wrong", text, advice)


def note(text: str, advice: str = "") -> Finding:
    """Good to know."""
    return Finding("note", text, advice)
