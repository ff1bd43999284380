"""Trainings by the real stage, stopped and resumed at every place where that can be; not a test.

See `resume_cases` for what is trained, and `killed_runs` for those that are killed.
"""

from lightning.pytorch import Callback

from espnet3.rundir.stop import Stopped
from espnet3.rundir.task import Task
from espnet3.stages import train as stage
from resume_cases import configuration
from resume_ends import checkpoints_of, differences, end_of, killed_after


def train(case, corpus, home, task=None, stop_after=0, **checkpoint):
    """Train or go on; the same command whatever was before."""
    task = task or Task.single("train")
    home.mkdir(parents=True, exist_ok=True)
    config = configuration(case, corpus, home, **checkpoint)
    config.trainer.devices = task.world_size
    StopAfter.task = task
    config.callbacks = {
        "stop": {"_target_": f"{__name__}.StopAfter", "batches": stop_after},
        "count": {"_target_": f"{__name__}.Count"},
    }
    return stage.run(config, task)


class StopAfter(Callback):
    """Asks to stop in the n-th batch of this attempt, of training or validation; notes what it trains on.

    The batch of validation that is tried before the first epoch does not count.
    """

    task = None
    seen = None

    def __init__(self, batches):
        self.left = batches

    def on_train_batch_start(self, trainer, module, batch, *_):
        if trainer.sanity_checking:
            return
        if self.seen is not None and not trainer.validating:
            self.seen.append([trainer.current_epoch, batch[0]])
        self.left -= 1
        if not self.left:
            self.task.stop.set("SIGTERM")

    on_validation_batch_start = on_train_batch_start


class Count(Callback):
    """A callback with a state of its own: how many batches the training has had."""

    def __init__(self):
        self.batches = 0

    def on_train_batch_end(self, *_):
        self.batches += 1

    def state_dict(self):
        return {"batches": self.batches}

    def load_state_dict(self, state):
        self.batches = state["batches"]


def stopped_everywhere(case, corpus, home):
    """Train, asked to stop in every batch of training and of validation, one after the other.

    A stop in validation saves the state from before it: the next attempt then stops a batch later.

    Returns:
        What each attempt said.
    """
    told = []
    for _ in range(1000):
        repeated = next((n for n, text in enumerate(reversed(told)) if text != told[-1]), len(told))
        try:
            train(case, corpus, home, stop_after=max(1, repeated))
            return told
        except Stopped as stopped:
            told.append(str(stopped))
    raise RuntimeError(f"it never came to its end: {told}")


def resumed_everywhere(case, corpus, directory, task=None):
    """Resume a training from each of its checkpoints, of which there is one after every batch.

    Returns:
        How many checkpoints there were, and by checkpoint what differed from the undisturbed training in the
        end.
    """
    task = task or Task.single("train")
    train(case, corpus, directory / "undisturbed", task)
    everything = directory / "everything"
    train(case, corpus, everything, task, every_n_batches=1, keep_last=1000)
    names = checkpoints_of(everything)
    expected = end_of(directory / "undisturbed") if task.rank == 0 else None
    found = {}
    for number, name in enumerate(["", *names]):
        home = directory / f"resumed-{number}"
        if task.rank == 0 and name:
            killed_after(everything, name, home)
        if name:
            train(case, corpus, home, task)
        else:
            home = everything
        if task.rank == 0:
            found[name or "checkpoints after every batch"] = differences(expected, end_of(home))
    return {"checkpoints": len(names), "different": {name: what for name, what in found.items() if what}}
