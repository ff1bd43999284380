"""Which checkpoints are among the best, by the monitored metric."""

import logging
from pathlib import Path

from lightning.pytorch import Trainer

from espnet3.components.checkpoint import folder
from espnet3.components.checkpoint.background.background_io import checkpoint_io_of
from espnet3.components.checkpoint.ranking import Ranked, Ranking, read_ranking, write_ranking
from espnet3.components.modeling.lightning_module import ESPnetLightningModule
from espnet3.components.modeling.metrics.monitored_metric import NeverLogged, is_known_not_logged
from espnet3.errors import suggestion

log = logging.getLogger(__name__)


class BestCheckpoints:
    """The best checkpoints in `directory`; its ranking is in best.json."""

    def __init__(self, directory: Path, monitor: str, mode: str, save_top_k: int) -> None:
        """See `RunCheckpoint` for the arguments; ValueError if `mode` is neither min nor max."""
        if mode not in ("min", "max"):
            raise ValueError(f"checkpoint.mode must be min or max, given: {mode!r}")
        self.directory, self.monitor, self.mode, self.save_top_k = directory, monitor, mode, save_top_k

    @property
    def is_validated(self) -> bool:
        """Whether a validation measures the metric."""
        return self.monitor.startswith("valid/")

    def weigh(self, trainer: Trainer, module: ESPnetLightningModule) -> Ranked | None:
        """The checkpoint to be written, if the metric was refreshed and is among the best."""
        try:
            value = module.metrics.new_value("checkpoint.monitor", self.monitor)
        except NeverLogged as error:
            log.warning("no best checkpoint is kept: %s", error)
            return None
        if value is None:
            return None
        position = folder.Position(*module.position)
        name = folder.checkpoint_name(position, trainer.global_step)
        candidate = Ranked(name, float(value), position.epoch, position.batch, _validated(trainer, module))
        # Rank 0 decides for all: the others may see an older file on a shared file system.
        is_best = name in self.ranking(trainer, candidate).files()
        return candidate if trainer.strategy.broadcast(is_best) else None

    def refuse_mistyped_monitor(self, trainer: Trainer, module: ESPnetLightningModule) -> None:
        """End a training that would choose no checkpoint, once the newest is saved.

        Raises:
            NeverLogged: the metric was not logged where it must have been.
        """
        due = module.validated or not self.is_validated
        if due and is_known_not_logged(trainer, self.monitor) and not module.metrics.was_logged(self.monitor):
            logged = sorted(trainer.callback_metrics)
            raise NeverLogged(
                f"checkpoint.monitor={self.monitor} was not logged; logged are: {', '.join(logged)};"
                f" {suggestion(self.monitor, logged)}"
            )

    def ranking(self, trainer: Trainer, candidate: Ranked | None = None) -> Ranking:
        """That of best.json, with `candidate` if there is one; another metric begins with an empty one."""
        checkpoint_io_of(trainer).wait()  # its writer enters the last checkpoint
        ranking = read_ranking(self.directory)
        if ranking is None or (ranking.monitor, ranking.mode) != (self.monitor, self.mode):
            ranking = Ranking(self.monitor, self.mode)
        return ranking if candidate is None else ranking.with_candidate(candidate, self.save_top_k)

    def restore(self, trainer: Trainer, module: ESPnetLightningModule, candidate: Ranked | None) -> None:
        """Make best.json what it was at the checkpoint: the attempt may have been killed between the two.

        Args:
            trainer: its checkpoint may still be written.
            module: says where in the training it is.
            candidate: that checkpoint, if it was among the best.
        """
        before = self.ranking(trainer)
        ranking = before.without(later_than=module.position)
        if candidate is not None:
            ranking = ranking.with_candidate(candidate, self.save_top_k)
        if ranking != before:
            write_ranking(self.directory, ranking)


def _validated(trainer: Trainer, module: ESPnetLightningModule) -> dict[str, float]:
    """The metrics of the validation in this epoch, if there was one."""
    metrics = trainer.callback_metrics if module.validated else {}
    return {name: float(value) for name, value in metrics.items() if name.startswith("valid/")}
