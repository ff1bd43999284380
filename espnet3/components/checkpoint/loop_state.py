"""What Lightning's loops must be told, so that a resumed run does what the checkpoint interrupted."""

from typing import Any

_EPOCH_LOOP = "epoch_loop."


def before_validation(loops: dict[str, Any], batches_before: int | None) -> None:
    """Change the loops' state from "after a batch" to "before the validation that follows this batch".

    Lightning believes of a checkpoint from `on_train_batch_end` that the validation was done, and, at the
    last batch of an epoch, that its end was. It runs a whole validation, then what comes after it, when the
    batch is completed and a validation has begun without completing a batch. Nothing is read twice:
    validation begins with its first batch.

    Args:
        loops: `checkpoint["loops"]["fit_loop"]`, changed in place; from before or from within the validation.
        batches_before: how many batches of validation the epoch had before it; None when it has not begun.
    """
    batches = loops[f"{_EPOCH_LOOP}batch_progress"]
    for counts in (batches["total"], batches["current"]):
        counts["completed"] = counts["processed"]
    validation = loops[f"{_EPOCH_LOOP}val_loop.batch_progress"]
    done = validation["total"]["completed"] if batches_before is None else batches_before
    validation["total"] = {"ready": done + 1, "started": done + 1, "processed": done, "completed": done}
    validation["current"] = dict.fromkeys(("ready", "started", "processed", "completed"), 0)
    validation["is_last_batch"] = False
