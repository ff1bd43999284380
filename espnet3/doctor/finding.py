"""A finding: one line of the checklist."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """The result of one check: right, wrong, or a note."""

    kind: Literal["right", "wrong", "note"]
    text: str
    advice: str = ""
    """What the user can do about it."""

    def __str__(self) -> str:
        mark = {"right": "✓", "wrong": "✗", "note": "·"}[self.kind]
        return f"{mark} {self.text}" + (f": {self.advice}" if self.advice else "")


def right(text: str) -> Finding:
    """A check that passed."""
    return Finding("right", text)


def wrong(text: str, advice: str) -> Finding:
    """A check that failed, and what to do about it; the command then exits with 1."""
    return Finding("wrong", text, advice)


def note(text: str, advice: str = "") -> Finding:
    """Information that is neither right nor wrong."""
    return Finding("note", text, advice)
