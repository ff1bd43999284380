"""Record when a training failed: the traceback of the rank that failed first is shown."""

import time
from typing import Any

from lightning.pytorch import Callback


class FailureTime(Callback):
    """Sets `raised_at` (seconds since the epoch) on an exception that ends the training.

    Lightning tears down before it raises the exception again, and a rank that lost its peer may finish that
    before the rank that failed.
    """

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Record the time."""
        exception.raised_at = time.time()  # type: ignore[attr-defined]
