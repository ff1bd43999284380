"""Lightning has what espnet3 needs of its internals; after an upgrade, each failure names what is gone."""

import importlib
import inspect
import re
from typing import Any

import lightning
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch.utils.data import DataLoader

from espnet3.components.trainers import lightning_internals
from espnet3.components.trainers.lightning_internals import (
    ask_for_training_data_again,
    leave_samplers_alone,
    leave_signals_alone,
    set_max_steps,
)

EPOCH_LOOP = "Trainer.fit_loop.epoch_loop"
NAMES = {
    "LightningModule._trainer": "attached_trainer",
    f"{EPOCH_LOOP}._num_ready_batches_reached": "is_last_batch",
    "Trainer.fit_loop._data_fetcher": "validation_follows",
    f"{EPOCH_LOOP}._should_check_val_fx": "validation_follows",
    f"{EPOCH_LOOP}._is_training_done": "is_training_done",
    "Trainer.fit_loop._should_accumulate": "accumulates",
    f"{EPOCH_LOOP}.total_batch_idx": "batch_number",
    "lightning.pytorch.loops.loop:_Loop.restarting.fset": "begin_with_whole_epoch",
    f"{EPOCH_LOOP}.max_steps": "set_max_steps",
    f"{EPOCH_LOOP}.manual_optimization.optim_step_progress.increment_ready": "count_step",
    f"{EPOCH_LOOP}.manual_optimization.optim_step_progress.increment_completed": "count_step",
    f"{EPOCH_LOOP}.val_loop.batch_progress.total.reset_on_restart": "forget_cut_validation",
    f"{EPOCH_LOOP}.val_loop.batch_progress.total.completed": "forget_cut_validation",
    "Trainer.fit_loop._data_source.instance": "given_training_data",
    "Trainer.fit_loop._data_source.dataloader": "given_training_data",
    "lightning.pytorch.trainer.call:_call_callback_hooks": "overridden_hook",
    "lightning.pytorch.trainer.call:_call_lightning_module_hook": "overridden_hook",
    "Trainer.fit_loop._combined_loader": "ask_for_training_data_again",
    f"{EPOCH_LOOP}._batches_that_stepped": "batches_that_stepped",
    "Trainer._logger_connector.should_update_logs": "batch_has_row",
    "Trainer._logger_connector.metrics": "row_to_come",
    "Trainer._logger_connector._callback_metrics": "restore_callback_metrics",
    f"{EPOCH_LOOP}._results.get": "replace_logged",
    "logged metric._forward_cache": "replace_logged",
    "logged metric.has_reset": "replace_logged",
    "Trainer._logger_connector._logged_metrics": "show_to_callbacks",
    f"{EPOCH_LOOP}._results.reset": "forget_logged",
    "TensorBoardLogger._kwargs": "purge_from",
    "Trainer._signal_connector.register_signal_handlers": "leave_signals_alone",
    f"{EPOCH_LOOP}._broadcast_sigterm_tensor": "leave_signals_alone",
    "Trainer._accelerator_connector.use_distributed_sampler": "leave_samplers_alone",
    "lightning.fabric.utilities.rank_zero:rank_zero_only.rank": "set_rank",
    "lightning.pytorch.utilities.rank_zero:rank_zero_only.rank": "set_rank",
    "lightning.pytorch.overrides.distributed:_sync_module_states": "broadcast_weights",
}
"""What is needed, and the function that needs it."""


class Tiny(LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def training_step(self, batch, batch_idx):
        loss = self.layer(batch).sum()
        self.log("loss", loss)
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.fixture(scope="module")
def trained() -> Trainer:
    trainer = make_trainer(max_steps=1)
    trainer.fit(Tiny(), DataLoader(torch.ones(2, 1)))
    return trainer


def make_trainer(**options) -> Trainer:
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    return Trainer(accelerator="cpu", enable_model_summary=False, **quiet, **options)


def find(root: str, trainer: Trainer) -> Any:
    if root == "logged metric":
        return trainer.fit_loop.epoch_loop._results["training_step.loss"]
    if root.startswith("lightning."):
        return importlib.import_module(root)
    return {"Trainer": trainer, "LightningModule": Tiny(), "TensorBoardLogger": TensorBoardLogger(".")}[root]


@pytest.mark.parametrize("name", NAMES)
def test_lightning_has(name: str, trained: Trainer):
    root, *path = name.split(":" if ":" in name else ".", 1)
    owner = find(root, trained)
    *outer, last = path[0].split(".")
    gone = f"lightning {lightning.__version__} has no {name}, which {NAMES[name]}() needs"
    for part in outer:
        assert hasattr(owner, part), gone
        owner = getattr(owner, part)
    absent = object()  # not hasattr: some properties have a value only during a training
    assert inspect.getattr_static(owner, last, absent) is not absent or last in dir(owner), gone


@pytest.mark.parametrize("loop", ["epoch_loop.batch_progress", "epoch_loop.val_loop.batch_progress"])
def test_the_loops_state_that_a_checkpoint_holds_has_the_counts(loop: str, trained: Trainer):
    state = trained.fit_loop.state_dict()
    gone = (
        f"lightning {lightning.__version__} has no {loop} of this form, which state_before_validation() needs"
    )
    counts = {"ready", "started", "processed", "completed"}
    assert set(state.get(loop, ())) == {"total", "current", "is_last_batch"}, gone
    assert set(state[loop]["total"]) == set(state[loop]["current"]) == counts, gone


def test_the_table_names_every_private_name_in_use():
    source = inspect.getsource(lightning_internals)
    own = set(re.findall(r"^(?:def )?(_\w+)", source, re.MULTILINE))
    used = set(re.findall(r"\b_[A-Za-z]\w*", source)) - own
    assert used and used <= set(re.split(r"[.:]", ".".join(NAMES)))


@pytest.mark.parametrize(
    ("name", "needs"),
    [
        ("_signal_connector", leave_signals_alone),
        ("_signal_connector.register_signal_handlers", leave_signals_alone),
        ("fit_loop.epoch_loop._broadcast_sigterm_tensor", leave_signals_alone),
        ("_accelerator_connector", leave_samplers_alone),
        ("_accelerator_connector.use_distributed_sampler", leave_samplers_alone),
        ("fit_loop._combined_loader", ask_for_training_data_again),
        ("fit_loop.epoch_loop.max_steps", lambda trainer: set_max_steps(trainer, 3)),
    ],
)
def test_what_would_be_set_in_vain_after_a_renaming_fails_at_once(name, needs, monkeypatch):
    trainer = make_trainer(max_steps=1)
    *outer, last = name.split(".")
    owner = trainer
    for part in outer:
        owner = getattr(owner, part)
    monkeypatch.delattr(owner if last in vars(owner) else type(owner), last)
    with pytest.raises(RuntimeError, match=rf"^lightning {lightning.__version__} has no \w+\.{last},"):
        needs(trainer)


def test_the_end_of_training_moves():
    trainer = make_trainer(max_steps=1)
    set_max_steps(trainer, 3)
    assert trainer.max_steps == 3
