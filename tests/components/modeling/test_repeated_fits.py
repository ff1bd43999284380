"""A module that is fitted again: nothing of an earlier fit, validation or loading is left in it."""

import pickle

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import LearningRateFinder, ModelCheckpoint
from lightning.pytorch.tuner import Tuner

import named_runs
import training_runs
from espnet3.components.modeling.lightning_module import ESPnetLightningModule
from espnet3.errors import UserError
from training_runs import SweepCommand, same

BATCHES = 8
ACCUMULATING = {"accum_grad_steps": 2}


class Seen(Callback):
    """The first uid of each training batch."""

    def __init__(self, stop_after=None):
        self.uids = []
        self.stop_after = stop_after

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        self.uids.append(batch[0][0])
        if len(self.uids) == self.stop_after:
            raise KeyboardInterrupt


def make(kind):
    """The module, untrained."""
    if kind == "single":
        train, valid = [training_runs.data(i) for i in range(BATCHES)], [training_runs.data(1)]
        config = {"optimizer": training_runs.SGD, "scheduler": training_runs.STEP_LR}
        return SweepCommand(training_runs.Linear(), config, train, valid)
    train, valid = [named_runs.batch(i) for i in range(BATCHES)], [named_runs.batch(1)]
    return SweepCommand(named_runs.Gan(), named_runs.config(ACCUMULATING, ACCUMULATING), train, valid)


def trainer(*callbacks, **options):
    quiet = dict.fromkeys(
        ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False
    )
    return Trainer(
        **{"accelerator": "cpu", "max_epochs": 1, "num_sanity_val_steps": 0, **quiet, **options},
        callbacks=list(callbacks),
    )


def cut_by_max_steps(module, path):
    trainer(max_steps=3).fit(module)
    return module


def interrupted(module, path):
    with pytest.raises(SystemExit):
        trainer(Seen(stop_after=3)).fit(module)
    return module


def validated(module, path):
    made = trainer(max_steps=3)
    made.fit(module)
    made.save_checkpoint(path)
    other = make("single" if module.named is None else "named")
    trainer().validate(other, ckpt_path=path, verbose=False, weights_only=True)
    return other


def loaded(module, path):
    made = trainer(max_steps=3)
    made.fit(module)
    made.save_checkpoint(path)
    model, config, train = module.model, module.config, module.data.batches["train"]
    return SweepCommand.load_from_checkpoint(path, model=model, config=config, train=train, weights_only=True)


@pytest.mark.parametrize("kind", ["single", "named"])
@pytest.mark.parametrize("earlier", [cut_by_max_steps, interrupted, validated, loaded])
def test_a_new_fit_is_that_of_an_untouched_module_with_the_same_weights(kind, earlier, tmp_path):
    module, seen = earlier(make(kind), tmp_path / "earlier.ckpt"), Seen()
    fresh = make(kind)
    fresh.load_state_dict(module.state_dict())
    trainer(seen).fit(module)
    trainer().fit(fresh)
    assert len(seen.uids) == BATCHES
    assert same(dict(module.state_dict()), dict(fresh.state_dict()))
    saved, expected = {}, {}
    module.on_save_checkpoint(saved)
    fresh.on_save_checkpoint(expected)
    assert saved == expected


@pytest.mark.parametrize("kind", ["single", "named"])
def test_a_second_fit_of_the_same_trainer_counts_its_epochs_on(kind):
    module, seen = make(kind), Seen()
    made = trainer(seen)
    made.fit(module)
    made.fit_loop.max_epochs = 2
    made.fit(module)
    assert len(seen.uids) == 2 * BATCHES
    assert module.position == (2, 0)


@pytest.mark.parametrize("kind", ["single", "named"])
def test_a_fit_from_a_checkpoint_continues_it(kind, tmp_path):
    module, whole, seen = make(kind), make(kind), Seen()
    checkpoint = ModelCheckpoint(
        tmp_path, every_n_train_steps=4, save_top_k=-1, save_on_train_epoch_end=False
    )
    trainer(checkpoint, enable_checkpointing=True).fit(module)
    trainer(seen).fit(module, ckpt_path=tmp_path / "epoch=0-step=4.ckpt", weights_only=True)
    trainer().fit(whole)
    assert len(seen.uids) == BATCHES - 4
    assert same(dict(module.state_dict()), dict(whole.state_dict()))


def test_lightnings_search_for_a_learning_rate_trains_and_leaves_nothing():
    module, seen, untouched = make("single"), Seen(), make("single")
    before = {key: value.clone() for key, value in module.state_dict().items()}
    search = {"num_training": 20, "early_stop_threshold": None, "update_attr": False}
    found = Tuner(trainer(max_epochs=5)).lr_find(module, **search)
    assert len(found.results["lr"]) >= 10
    assert same(before, dict(module.state_dict()))
    trainer(seen).fit(module)
    trainer().fit(untouched)
    assert len(seen.uids) == BATCHES
    assert same(dict(module.state_dict()), dict(untouched.state_dict()))


def test_lightnings_search_inside_of_a_fit_is_followed_by_the_whole_training():
    module, seen = make("single"), Seen()
    made = trainer(LearningRateFinder(num_training_steps=10, update_attr=False), seen)
    made.fit(module)
    assert seen.uids[-BATCHES:] == [f"{index}-a" for index in range(BATCHES)]
    assert module.position == (1, 0)


def test_lightnings_search_is_refused_with_named_optimizers():
    one = {"optimizers": {"generator": {"optimizer": named_runs.ADAM, "params": "*"}}}
    batches = [named_runs.batch(index, ["generator"]) for index in range(BATCHES)]
    module = SweepCommand(named_runs.Gan(), one, batches)
    with pytest.raises(
        UserError, match=r"search for a learning rate .*: sweep optimizers\.<name>\.optimizer\.lr"
    ):
        Tuner(trainer(max_epochs=5)).lr_find(module, num_training=20, update_attr=False)


# --- data of the user's own --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["single", "named"])
def test_loaders_given_to_fit_need_no_dataset_in_the_configuration(kind):
    given, seen = make(kind), Seen()
    module = ESPnetLightningModule(given.model, given.config)
    trainer(seen).fit(module, train_dataloaders=given.train_dataloader())
    assert len(seen.uids) == BATCHES
    with pytest.raises(UserError, match=r"dataset is not given: .*train_dataloaders"):
        trainer().fit(module)


def test_a_scheduler_gets_the_length_of_the_loader_given_to_fit():
    lengths = []

    class Kept(torch.optim.lr_scheduler.ConstantLR):
        def __init__(self, optimizer, length):
            lengths.append(length)
            super().__init__(optimizer)

    training_runs.Kept = Kept
    config = {"optimizer": training_runs.SGD, "scheduler": {"_target_": "training_runs.Kept"}}
    module = ESPnetLightningModule(training_runs.Linear(), config)
    trainer(max_epochs=3).fit(module, train_dataloaders=make("single").train_dataloader())
    assert (lengths[0].updates_per_epoch, lengths[0].updates) == (BATCHES, 3 * BATCHES)


def test_only_loaders_of_our_own_keep_lightnings_sampler_out():
    made = trainer(use_distributed_sampler=True)
    made.fit(make("single"), train_dataloaders=make("single").train_dataloader(), val_dataloaders=[])
    assert made._accelerator_connector.use_distributed_sampler
    made = trainer(use_distributed_sampler=True)
    made.fit(make("single"))
    assert not made._accelerator_connector.use_distributed_sampler


@pytest.mark.parametrize("kind", ["single", "named"])
def test_strategies_that_spawn_ranks_can_pickle_the_module(kind):
    pickle.loads(pickle.dumps(make(kind)))
