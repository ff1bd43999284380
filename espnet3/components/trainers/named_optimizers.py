"""Which Trainers can run named optimizers, and the DDP that leaves gradients alone."""

from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DDPStrategy, DeepSpeedStrategy, SingleDeviceStrategy

from espnet3.components.trainers.lightning_internals import broadcast_weights
from espnet3.config.checks.trainer_keys import check_trainer_for_named


class DDPWithoutReducer(DDPStrategy):
    """DDP for a module that reduces gradients itself: it only gives all ranks the weights of rank 0.

    Torch's DistributedDataParallel would watch every parameter and hold a second copy of all gradients.
    """

    def configure_ddp(self) -> None:
        """Give all ranks the weights of rank 0."""
        assert self.model is not None
        broadcast_weights(self.model)


def check_trainer(trainer: Trainer) -> None:
    """Refuse what named optimizers cannot run with, or do themselves.

    Raises:
        AssertionError: clipping or accumulation by the Trainer.
        RuntimeError: a strategy that is neither one device nor plain DDP.
    """
    clipping = {
        key: getattr(trainer, key)
        for key in ("gradient_clip_val", "gradient_clip_algorithm")
        if getattr(trainer, key) is not None
    }
    check_trainer_for_named({**clipping, "accumulate_grad_batches": trainer.accumulate_grad_batches})
    strategy = trainer.strategy
    # DeepSpeed's is a DDPStrategy too.
    runs = isinstance(strategy, SingleDeviceStrategy | DDPStrategy)
    if not runs or isinstance(strategy, DeepSpeedStrategy):
        raise RuntimeError(
            f"named optimizers run on one device or with DDP, not with {type(strategy).__name__}: DeepSpeed"
            " supports one optimizer only, and a strategy that shards parameters hides their names;"
            " give strategy=auto or ddp, or a single `optimizer`"
        )
