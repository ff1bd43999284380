"""How long trials were trained: a shorter training is not compared with longer ones."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from espnet3.rundir.records.record import Record
from espnet3.stage_table import LONGER, is_longer

Length = dict[str, Any]
"""Key of LONGER -> value."""


def trained_length(records: Mapping[str, Record], swept: Collection[str] = ()) -> Length:
    """The length of the finished training among `records` (by stage); empty if there is none.

    A key in `swept` is left out: its values are there to be compared.
    """
    record = records.get("train")
    part = record.part if record is not None and record.done else {}
    return {key: part[key] for key in LONGER if key in part and key not in swept}


def lags_behind(length: Length, reference: Length) -> list[str]:
    """Where `reference` is longer: "trainer.max_epochs=5, not 10"."""
    return [
        f"{key}={length[key]}, not {reference[key]}"
        for key in length
        if key in reference and is_longer(length[key], reference[key])
    ]


def shorter(lengths: Sequence[Length]) -> list[str]:
    """For each of `lengths` where the longest one is longer; empty where it is not."""
    longest: Length = {}
    for length in lengths:
        for key, value in length.items():
            if key not in longest or is_longer(longest[key], value):
                longest[key] = value
    return ["; ".join(lags_behind(length, longest)) for length in lengths]
