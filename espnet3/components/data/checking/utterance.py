"""What the check of the data knows of an utterance, and what it finds."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from espnet3.errors import printable


@dataclass(frozen=True)
class Utterance:
    """An utterance as the callable `dataset.check` of a recipe gets it."""

    uid: str
    entry: Mapping[str, Any]
    """Its line in the manifest; the sample itself where a dataset has no manifest."""
    samples: int | None = None
    """Of one channel; None where it is not known: before jobs are submitted only manifests are read."""
    sample_rate: int | None = None
    """In Hz; None where it is not known."""


@dataclass(frozen=True)
class Problem:
    """Why an utterance, or a line of a manifest, can't be used."""

    split: str
    entry: str
    """The name of its dataset in the split."""
    index: int | None
    """In its dataset; None: it is none of the dataset's samples."""
    uid: str
    file: Path | None
    """The manifest, if there is one."""
    line: int
    text: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.file else f"dataset.{self.split} ({self.entry!r})"
        uid = f" uid {self.uid!r}" if self.uid else ""
        return printable(f"{where}:{uid} {self.text}").replace("\n", "\\n")  # names of files hold anything
