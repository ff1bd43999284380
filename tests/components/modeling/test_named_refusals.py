"""What named optimizers refuse: a Trainer that does their work, strategies, mistaken configurations."""

import pytest
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy

import named_runs as runs
from espnet3.components.modeling.lightning_module import ESPnetLightningModule
from espnet3.components.trainers.named_optimizers import check_trainer
from espnet3.config.checks.trainer_keys import check_trainer_for_named


@pytest.mark.parametrize(
    "option", [{"gradient_clip_val": 1.0}, {"gradient_clip_val": 0.0}, {"gradient_clip_algorithm": "value"}]
)
def test_clipping_by_the_trainer_is_refused(option):
    (key,) = option
    with pytest.raises(AssertionError, match=rf"use optimizers\.<name>\.{key}"):
        check_trainer_for_named(option)
    with pytest.raises(AssertionError, match=rf"use optimizers\.<name>\.{key}"):
        check_trainer(Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, **option))


def test_accumulation_by_the_trainer_is_refused():
    with pytest.raises(AssertionError, match=r"use optimizers\.<name>\.accum_grad_steps; given: 4"):
        check_trainer_for_named({"accumulate_grad_batches": 4})


@pytest.mark.parametrize("kind", [DeepSpeedStrategy, FSDPStrategy])
def test_strategies_of_deepspeed_and_sharding_are_refused(kind):
    module = ESPnetLightningModule(runs.Gan(), runs.config())
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    trainer.strategy.__class__ = type(kind.__name__, (kind,), {})
    with pytest.raises(RuntimeError, match=f"not with {kind.__name__}"):
        module.named.configure(module.model, trainer, lambda: None)
    name = kind.__name__.removesuffix("Strategy").lower()
    with pytest.raises(RuntimeError, match=f"trainer.strategy={name}_stage_2 cannot run named"):
        check_trainer_for_named({"strategy": f"{name}_stage_2"})


def test_mistakes_in_the_configuration_are_told_when_optimizers_are_made():
    mixed = {**runs.config(), "optimizer": runs.ADAM}
    with pytest.raises(AssertionError, match="exclude each other"):
        ESPnetLightningModule(runs.Gan(), mixed).configure_optimizers()
    uncovered = runs.config({"params": "generator.0"})
    with pytest.raises(
        AssertionError, match=r"no optimizer covers: generator\.1\.weight, generator\.1\.bias"
    ):
        ESPnetLightningModule(runs.Gan(), uncovered).configure_optimizers()


def test_a_tensor_loss_is_refused(tmp_path):
    class Single(runs.Gan):
        def forward(self, **batch):
            steps, stats, weight = super().forward(**batch)
            return steps[0].loss, stats, weight

    with pytest.raises(AssertionError, match="must be an OptimizationStep or a list of them, given: Tensor"):
        runs.train([runs.batch(0)], tmp_path, model=Single())
