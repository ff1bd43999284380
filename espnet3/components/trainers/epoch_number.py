"""Epochs in the rows of loggers count from 1, as wherever a user sees them; Lightning's count from 0."""

from collections.abc import Mapping
from typing import Any


def with_epoch_from_one(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """A row as Lightning gives it to a logger, with the epoch's number from 1, if it has one."""
    return {**metrics, "epoch": metrics["epoch"] + 1} if "epoch" in metrics else dict(metrics)
