"""A batch whose loss is NaN or Inf is left out without a trace, with a single optimizer."""

import lightning
import pytest
import torch

import training_runs as runs


def plain_pytorch(indices, bad, accumulate, epochs=1, clip=None):
    """The oracle: each update is the mean over the batches accepted since the last one."""
    model = runs.Linear()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.5)
    hold_directory, skipped = [], False
    for _ in range(epochs):
        for position, index in enumerate(indices):
            if index in bad:
                skipped = True
            else:
                loss, _, _ = model(**runs.data(index)[1])
                hold_directory.append(torch.autograd.grad(loss, list(model.parameters())))
            closes = (position + 1) % accumulate == 0 or position + 1 == len(indices)
            if closes and index not in bad:
                divisor = len(hold_directory) if skipped else accumulate
                for parameter, *gradients in zip(model.parameters(), *hold_directory, strict=True):
                    parameter.grad = sum(gradients) / divisor
                if clip:
                    torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
                optimizer.step()
                hold_directory, skipped = [], False
    return model.state_dict()


@pytest.mark.parametrize(
    ("bad", "accumulate"),
    [
        ((), 1),
        ((), 3),  # seven batches: the last window is short, and scaled as Lightning does
        ((2,), 1),
        ((0,), 3),
        ((1,), 2),
        ((3,), 2),
        ((3, 4), 2),
        ((2, 5, 6), 3),
        ((6,), 3),
        ((5, 6), 3),  # the last of the epoch: what is held goes on through validation into the next
        ((0, 1, 2), 3),
    ],
)
@pytest.mark.parametrize("clip", [None, 0.5])
def test_every_update_is_the_mean_over_the_accepted_batches(tmp_path, bad, accumulate, clip):
    train = [runs.data(index, bad=index in bad) for index in range(7)]
    options = {"accumulate_grad_batches": accumulate, "max_epochs": 2, "gradient_clip_val": clip}
    module, _ = runs.fit(train, tmp_path, valid=train[:1], **options)
    expected = plain_pytorch(range(7), bad, accumulate, epochs=2, clip=clip)
    for key, value in expected.items():
        torch.testing.assert_close(module.state_dict()[key], value)


def test_without_nan_training_is_lightnings_own_to_the_bit(tmp_path):
    class Plain(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.model = runs.Linear()

        def training_step(self, batch, _):
            return self.model(**batch[1])[0]

        def configure_optimizers(self):
            optimizer = torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.5)
            scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.9)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    train = [runs.data(index) for index in range(7)]
    options = {"max_epochs": 2, "accumulate_grad_batches": 3, "gradient_clip_val": 0.5}
    module, _ = runs.fit(train, tmp_path, config={"scheduler": runs.STEP_LR}, **options)
    plain = Plain()
    lightning.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=tmp_path, **options,
    ).fit(plain, runs.loader(train))  # fmt: skip
    assert runs.same(dict(module.state_dict()), dict(plain.model.state_dict()))


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_skipped_batch_moves_nothing_and_says_which_it_was(tmp_path, caplog, precision):
    train = [runs.data(index, bad=index == 1) for index in range(4)]
    states = runs.traced(train, tmp_path, config={"scheduler": runs.STEP_LR}, precision=precision)
    assert runs.same(states[0], states[1])
    assert not runs.same(states[1]["schedulers"], states[2]["schedulers"])
    assert "epoch 1, batch 2" in caplog.text


def test_batch_norm_does_not_keep_what_a_skipped_batch_had(tmp_path):
    class Normed(runs.Linear):
        def __init__(self):
            super().__init__()
            self.norm = torch.nn.BatchNorm1d(3)

        def forward(self, x, y):
            return super().forward(self.norm(x), y)

    model = Normed()
    runs.fit([runs.data(0), runs.data(1, bad=True)], tmp_path, model=model)
    assert model.norm.running_mean.isfinite().all()
    assert model.norm.num_batches_tracked == 1


def test_an_epoch_scheduler_moves_though_the_last_batch_was_skipped(tmp_path):
    train = [runs.data(index, bad=index == 2) for index in range(3)]
    config = {"scheduler": runs.STEP_LR, "scheduler_interval": "epoch"}
    _, trainer = runs.fit(train, tmp_path, config=config, max_epochs=2)
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.05 * 0.9**2)


def test_more_than_a_hundred_in_a_row_end_the_training(tmp_path):
    def run(bad, good):
        runs.fit([runs.data(0, bad=True)] * bad + [runs.data(0)] * good, tmp_path)

    run(bad=100, good=1)
    runs.fit(([runs.data(0, bad=True)] * 60 + [runs.data(0)]) * 2, tmp_path)  # not in a row
    with pytest.raises(RuntimeError, match="101 batches in a row"):
        run(bad=101, good=1)


class Lazy(runs.Linear):
    """Buffers that a forward pass fills, grows or replaces."""

    def __init__(self):
        super().__init__()
        self.register_buffer("filled", torch.empty(0))
        self.register_buffer("none", None)
        self.register_buffer("cache", torch.zeros(1), persistent=False)

    def forward(self, x, y, **_):
        self.filled = x.mean(0).detach() if not self.filled.numel() else self.filled
        self.none = self.none if self.none is not None else x.sum().detach()
        self.cache = torch.zeros(self.cache.numel() + 1)
        return super().forward(x, y)


def test_buffers_that_a_skipped_batch_has_filled_are_empty_again_and_caches_stay(tmp_path):
    seen = []

    class Look(lightning.Callback):
        def on_train_batch_end(self, trainer, module, *_):
            model = module.model
            seen.append((model.filled.tolist(), model.none, model.cache.numel()))

    runs.fit([runs.data(0, bad=True), runs.data(1)], tmp_path, model=Lazy(), callbacks=[Look()])
    x = runs.data(1)[1]["x"]
    assert seen == [([], None, 2), (x.mean(0).tolist(), x.sum(), 3)]
