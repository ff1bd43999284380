"""Keeps Lightning's advertisements and remarks from the user's log; real warnings stay."""

import logging
import warnings

REMARKS = (
    # the launcher has started this process
    r"The `srun` command is available on your system but is not used.*",
    # num_workers is set in the configuration
    r".*does not have many workers which may be a bottleneck.*",
    # log_every_n_steps applies to long trainings; the means of every epoch are logged anyway
    r"The number of training batches .* is smaller than the logging interval.*",
    # our sampler does resume in the middle of an epoch, by the position that the module keeps
    r"You're resuming from a checkpoint that ended before the epoch ended.*",
    # the accelerator follows from resources.train.gpus_per_node
    r"GPU available but not used.*",
    # a run directory is there before training: the launcher makes it
    r"Checkpoint directory .* exists and is not empty.*",
    # a training may have no validation data
    r"Total length of `list` across ranks is zero.*",
    # newer torch has another name for it that older ones lack
    r".*`broadcast_buffers` is deprecated.*",
    # Lightning's own use of torch
    r".*`?isinstance\(treespec, LeafSpec\)`? is deprecated.*",
)


def quieten_lightning() -> None:
    """Show only Lightning's errors, and those of its warnings that a user can act on."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in REMARKS:
        warnings.filterwarnings("ignore", message=message)
