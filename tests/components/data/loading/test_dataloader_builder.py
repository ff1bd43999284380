"""Loaders of the `dataloader:` block: the same bytes with any workers, from any batch, on any rank."""

from itertools import chain

import lightning
import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from espnet3.components.data.collect_stats import collect_stats
from espnet3.components.data.data_organizer import DataOrganizer
from espnet3.components.data.loading.collate import CommonCollateFn
from espnet3.components.data.loading.dataloader_builder import DataLoaderBuilder, build_collate_fn
from espnet3.components.data.manifest import ManifestDataset
from espnet3.errors import UserError

BUCKETS = "espnet3.components.data.loading.length_buckets.LengthBuckets"
COLLATE = "espnet3.components.data.loading.collate.CommonCollateFn"


def noisy(sample, rng):
    """Noise from both kinds of generator, at a level of its own."""
    noise = rng.normal(size=len(sample["speech"])) * np.random.rand() + torch.rand(()).item()
    return {"speech": sample["speech"] + noise.astype(np.float32), "tokens": sample["tokens"]}


@pytest.fixture
def noisy_organizer(train_manifest, valid_manifest):
    def entry(manifest):
        return [{"name": "mini", "dataset": ManifestDataset(manifest), "transform": noisy}]

    return DataOrganizer(entry(train_manifest), entry(valid_manifest))


@pytest.fixture
def bucketed(organizer, model, tmp_path):
    """A block with iter_factory for both splits, by the shape files of stage 1."""
    collect_stats(model, organizer, stats_dir=tmp_path, collate_fn=build_collate_fn(None))

    def block(split, **options):
        files = [str(tmp_path / split / "feats_shape"), str(tmp_path / split / "tokens_shape")]
        return {"iter_factory": {"_target_": BUCKETS, "shape_files": files, **options}}

    return OmegaConf.create(
        {"train": block("train", batch_bins=600), "valid": block("valid", batch_size=2, shuffle=False)}
    )


def config(workers=0, **train):
    return {"train": {"batch_size": 3, "num_workers": workers, **train}, "valid": {"batch_size": 2}}


def read(loader):
    return [
        (tuple(uids), {key: value.numpy().tobytes() for key, value in data.items()}) for uids, data in loader
    ]


def uids(loader):
    return [tuple(uids) for uids, _ in loader]


def test_a_batch_is_uids_and_padded_tensors(organizer):
    (names, data), *_ = DataLoaderBuilder(organizer, config(), seed=1).build("train")
    assert len(names) == 3
    assert data.keys() == {"speech", "speech_lengths", "tokens", "tokens_lengths"}
    assert data["speech"].shape == (3, data["speech_lengths"].max())
    assert data["tokens"].min() == -1 or data["tokens_lengths"].unique().numel() == 1


@pytest.mark.parametrize("start", [0, 5])
def test_workers_make_no_difference_to_any_byte(noisy_organizer, start):
    here = DataLoaderBuilder(noisy_organizer, config(), seed=1).build("train", epoch=2, start_batch=start)
    there = DataLoaderBuilder(noisy_organizer, config(workers=2, persistent_workers=True), seed=1)
    loader = there.build("train", epoch=2, start_batch=start)
    assert read(here) == read(loader)
    for each in (here.batch_sampler, loader.batch_sampler):
        each.set_epoch(3)
    assert read(here) == read(loader)


@pytest.mark.parametrize("kind", ["plain", "bucketed"])
def test_a_loader_entered_at_any_batch_reads_the_tail(noisy_organizer, bucketed, kind):
    block = bucketed if kind == "bucketed" else config()
    builder = DataLoaderBuilder(noisy_organizer, block, seed=3)
    whole = read(builder.build("train", epoch=1))
    for start in range(len(whole) + 1):
        loader = builder.build("train", epoch=1, start_batch=start)
        assert len(loader) == len(whole)
        assert read(loader) == read(loader) == whole[start:]


@pytest.mark.parametrize("kind", ["plain", "bucketed"])
@pytest.mark.parametrize("world_size", [1, 2, 3, 5])
def test_ranks_share_each_utterance_of_train_and_valid(organizer, bucketed, kind, world_size):
    block = bucketed if kind == "bucketed" else config()
    for split, count in (("train", 23), ("valid", 7)):
        shares = [
            uids(DataLoaderBuilder(organizer, block, seed=1, rank=rank, world_size=world_size).build(split))
            for rank in range(world_size)
        ]
        assert len({len(share) for share in shares}) == 1
        names = sorted(chain.from_iterable(chain.from_iterable(shares)))
        assert names == sorted(getattr(organizer, split).uids())
        assert len(names) == count


@pytest.mark.parametrize("kind", ["plain", "bucketed"])
def test_training_is_shuffled_by_seed_and_epoch_and_validation_never(organizer, bucketed, kind):
    block = bucketed if kind == "bucketed" else config()
    builder = DataLoaderBuilder(organizer, block, seed=1)
    first = uids(builder.build("train", epoch=0))
    assert first == uids(builder.build("train", epoch=0))
    assert first != uids(builder.build("train", epoch=1))
    assert first != uids(DataLoaderBuilder(organizer, block, seed=2).build("train", epoch=0))
    valid = builder.build("valid")
    before = uids(valid)
    valid.batch_sampler.set_epoch(4)
    assert before == uids(valid) == uids(builder.build("valid", epoch=9))


def test_the_composition_of_buckets_is_that_of_every_epoch(organizer, bucketed):
    builder = DataLoaderBuilder(organizer, bucketed, seed=1)
    epochs = [uids(builder.build("train", epoch=epoch)) for epoch in (0, 1)]
    assert epochs[0] != epochs[1]
    assert sorted(epochs[0]) == sorted(epochs[1])


def test_validation_reads_the_same_noise_at_every_epoch(noisy_organizer):
    loader = DataLoaderBuilder(noisy_organizer, config(), seed=1).build("valid")
    before = read(loader)
    loader.batch_sampler.set_epoch(1)
    assert read(loader) == before


def test_shuffle_and_drop_last_are_honoured(organizer):
    builder = DataLoaderBuilder(organizer, config(shuffle=False, drop_last=True), seed=1)
    loader = builder.build("train")
    assert len(loader) == 7
    names = organizer.train.uids()
    assert uids(loader) == [tuple(names[start : start + 3]) for start in range(0, 21, 3)]


def test_the_global_generator_is_not_touched(organizer):
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    list(DataLoaderBuilder(organizer, config(), seed=1).build("train"))
    assert torch.equal(torch.rand(3), expected)


def test_the_seed_of_the_loader_is_that_of_transforms_unless_the_data_has_its_own(noisy_organizer):
    first, second = (
        read(DataLoaderBuilder(noisy_organizer, config(), seed=s).build("valid")) for s in (1, 2)
    )
    assert first != second
    for split in (noisy_organizer.train, noisy_organizer.valid):
        split.seed = 7
    first, second = (
        read(DataLoaderBuilder(noisy_organizer, config(), seed=s).build("valid")) for s in (1, 2)
    )
    assert first == second


class Reader(lightning.LightningModule):
    """Notes which utterances a Trainer gives it, by epoch."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen = {"train": {}, "valid": {}}

    def training_step(self, batch, _):
        self.seen["train"].setdefault(self.current_epoch, []).append(tuple(batch[0]))
        return self.weight.sum()

    def validation_step(self, batch, _):
        self.seen["valid"].setdefault(self.current_epoch, []).append(tuple(batch[0]))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_trainer_reads_every_epoch_in_its_own_order(organizer, tmp_path, workers):
    builder = DataLoaderBuilder(organizer, config(workers), seed=1)
    trainer = lightning.Trainer(
        max_epochs=3,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        default_root_dir=tmp_path,
    )
    reader = Reader()
    trainer.fit(reader, builder.build("train"), builder.build("valid"))
    for epoch in range(3):
        assert reader.seen["train"][epoch] == uids(builder.build("train", epoch=epoch))
        assert reader.seen["valid"][epoch] == uids(builder.build("valid"))


def test_the_collate_function_pads_integers_with_minus_one_unless_another_is_given():
    assert build_collate_fn(None).int_pad_value == -1
    given = build_collate_fn({"collate_fn": {"_target_": COLLATE, "int_pad_value": 5, "not_sequence": ["x"]}})
    assert isinstance(given, CommonCollateFn)
    assert (given.int_pad_value, given.not_sequence) == (5, {"x"})
    assert build_collate_fn({"collate_fn": len}) is len


def test_options_of_workers_are_left_out_without_workers(organizer):
    block = config(prefetch_factor=4, persistent_workers=True, timeout=5)
    assert len(read(DataLoaderBuilder(organizer, block).build("train"))) == 8


def test_batches_are_pinned_where_a_gpu_is_in_use_unless_the_configuration_says_otherwise(
    organizer, monkeypatch
):
    assert not DataLoaderBuilder(organizer, config()).build("train").pin_memory
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    assert DataLoaderBuilder(organizer, config()).build("train").pin_memory
    assert not DataLoaderBuilder(organizer, config(pin_memory=False)).build("train").pin_memory


def test_mistakes_inside_iter_factory_are_named(organizer, bucketed):
    def build(split="train", **changes):
        block = OmegaConf.merge(bucketed, {split: {"iter_factory": changes}})
        return DataLoaderBuilder(organizer, block).build(split)

    with pytest.raises(
        UserError, match=r"dataloader\.train\.iter_factory: .*unexpected keyword argument 'bins'"
    ):
        build(bins=3)
    with pytest.raises(UserError, match=r"iter_factory: batch_bins must be at least 1, given: 0"):
        build(batch_bins=0)
    with pytest.raises(UserError, match=r"valid\.iter_factory\.shuffle: validation is never shuffled"):
        build("valid", shuffle=True)
    with pytest.raises(UserError, match=r"no shape file at gone; stage 1"):
        build(shape_files=["gone"])
    del bucketed.train.iter_factory["_target_"]
    with pytest.raises(UserError, match=r"dataloader\.train\.iter_factory has no _target_"):
        build()


def test_shape_files_of_other_data_are_named(bucketed, valid_manifest):
    other = DataOrganizer(train=[{"name": "mini", "dataset": ManifestDataset(valid_manifest)}])
    message = r"train/feats_shape has no uid 'spk1-100', which is in the data: .*run stage 1"
    with pytest.raises(UserError, match=message):
        DataLoaderBuilder(other, bucketed).build("train")


def test_an_iter_factory_that_loses_an_utterance_is_refused(organizer):
    def lossy(uids):
        return [(0,), (1,)]

    block = {"train": {"iter_factory": lossy}, "valid": {"iter_factory": lossy}}
    with pytest.raises(UserError, match="its batches do not hold each of 23 utterances once"):
        DataLoaderBuilder(organizer, block).build("train")


def test_too_little_data_is_told(organizer):
    with pytest.raises(
        UserError, match=r"dataloader\.train: 23 utterances for 24 ranks; every rank needs one"
    ):
        DataLoaderBuilder(organizer, config(), world_size=24).build("train")
    with pytest.raises(UserError, match=r"drop_last leaves none of 23 utterances"):
        DataLoaderBuilder(organizer, config(batch_size=24, drop_last=True)).build("train")
    with pytest.raises(UserError, match=r"dataset\.train has no utterances"):
        DataLoaderBuilder(DataOrganizer(), config()).build("train")
    with pytest.raises(ValueError, match="split 'test'"):
        DataLoaderBuilder(organizer, config()).build("test")


def test_validation_on_more_ranks_than_utterances_leaves_some_without(organizer):
    loaders = [DataLoaderBuilder(organizer, config(), rank=r, world_size=9).build("valid") for r in range(9)]
    assert [len(loader) for loader in loaders] == [1] * 7 + [0] * 2
    assert sorted(chain.from_iterable(chain.from_iterable(map(uids, loaders)))) == sorted(
        organizer.valid.uids()
    )


class UidBatches:
    """As ESPnet's batch samplers: iterates over tuples of uids."""

    def __init__(self, uids, size):
        self.batches = [tuple(uids[start : start + size]) for start in range(0, len(uids), size)]

    def __iter__(self):
        return iter(self.batches)


def test_batches_of_uids_are_taken_as_espnets_samplers_make_them(organizer):
    def build(train):
        block = OmegaConf.create({}, flags={"allow_objects": True})
        block.train = {"iter_factory": train}
        block.valid = {"iter_factory": UidBatches(organizer.valid.uids(), 3)}
        return DataLoaderBuilder(organizer, block).build("train")

    made = UidBatches(organizer.train.uids(), 4)
    assert sorted(tuple(uids) for uids, _ in build(made)) == sorted(made.batches)
    made.batches[0] = ("nobody", *made.batches[0][1:])
    with pytest.raises(UserError, match=r"iter_factory: a batch has uid 'nobody', which is not in the data"):
        build(made)


def test_a_factory_of_loaders_is_refused_and_says_what_to_give(organizer):
    class SequenceIterFactory:
        def __iter__(self):
            return iter(())

        def build_iter(self, epoch):
            return None

    block = OmegaConf.create({}, flags={"allow_objects": True})
    block.train = block.valid = {"iter_factory": SequenceIterFactory()}
    with pytest.raises(UserError, match=r"makes a SequenceIterFactory, .*; give its `batches`"):
        DataLoaderBuilder(organizer, block).build("train")
