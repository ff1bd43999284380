"""Makes Lightning begin an epoch after a checkpoint that was written between two epochs."""

from lightning.pytorch import Trainer
from lightning.pytorch.loops.loop import _Loop


def begin_with_whole_epoch(trainer: Trainer) -> None:
    """Let the fit loop start an epoch, instead of finishing the one before.

    With `max_steps` Lightning believes that every checkpoint was written inside an epoch: it would run the
    end of the finished epoch again and count it twice, so that the next one had the order of its successor.
    Called when the training data is set up: after the loops were restored, before they look at it.
    """
    setter = vars(_Loop)["restarting"].fset  # the fit loop's own setter is the one that insists
    setter(trainer.fit_loop, False)
