"""What an epoch's line says where not everything fits: it is never wider than a terminal of 80 columns."""

import pytest

from espnet3.components.callbacks.epoch_line import WIDTH, epoch_line

ASR = {"train/loss": 0.123456, "valid/loss": 0.234567, "valid/token_error_rate": 0.031234}
NAMES = ("mel_l1", "adversarial", "feature_matching", "discriminator/loss", "generator/loss")
GAN = {f"{split}/{name}": 1.2345 for split in ("train", "valid") for name in NAMES} | {
    f"train/{name}/{key}": 123.0
    for name in ("generator", "discriminator")
    for key in ("lr", "update_step", "grad_norm")
}


def test_everything_is_said_where_it_fits():
    line = epoch_line("epoch 3/20", {"train/loss": 1.5, "valid/loss": 2.5}, [0.01], 612.4, "valid/loss")
    assert line == "epoch 3/20: valid loss 2.5, train loss 1.5, lr 0.01, 612 utterances/s"
    line = epoch_line("epoch 3/20, batch 7/90", {"train/loss": 1.5}, [0.01], 612.4, "valid/loss")
    assert line == "epoch 3/20, batch 7/90: train loss 1.5, lr 0.01, 612 utterances/s"


def test_the_monitored_metric_comes_first_then_losses_then_what_fits():
    line = epoch_line("epoch 12/25", ASR, [0.00123], 612.4, "valid/token_error_rate")
    assert line == "epoch 12/25: valid token_error_rate 0.0312 loss 0.235, train loss 0.123"
    line = epoch_line("epoch 2/5", ASR, [0.002], 612.4, "valid/token_error_rate")
    assert line == "epoch 2/5: valid token_error_rate 0.0312 loss 0.235, train loss 0.123, lr 0.002"


def test_of_many_metrics_the_monitored_one_is_said_for_both_splits():
    line = epoch_line("epoch 12/15", GAN, [1e-3, 5e-4], 61.2, "valid/mel_l1")
    assert line == "epoch 12/15: valid mel_l1 1.23 discriminator/loss 1.23, train mel_l1 1.23"


@pytest.mark.parametrize("metrics", [ASR, GAN, {}])
@pytest.mark.parametrize("where", ["epoch 1/5", "epoch 1234/5678, batch 12345/67890"])
@pytest.mark.parametrize("monitor", ["", "valid/loss", "valid/mel_l1", "train/gone"])
def test_it_never_wraps(metrics, where, monitor):
    line = epoch_line(where, metrics, [1.2345e-5, 2.3456e-5], 12345.6, monitor)
    assert line.startswith(f"{where}: ") and len(line) <= WIDTH


def test_equal_learning_rates_are_said_once_and_named_optimizers_bookkeeping_never():
    line = epoch_line("epoch 1", GAN | {"valid/mel_l1": 1.0}, [2e-4, 2e-4], 1.0, "valid/mel_l1")
    assert "update_step" not in line and "grad_norm" not in line
    assert epoch_line("epoch 1", {}, [2e-4, 2e-4, 1e-4], 1.0) == "epoch 1: lr 0.0002 0.0001, 1 utterances/s"


def test_one_metric_is_said_however_long_its_name():
    name = "valid/" + "very_" * 20 + "long"
    assert name.removeprefix("valid/") in epoch_line("epoch 1", {name: 1.0}, [0.1], 1.0)
