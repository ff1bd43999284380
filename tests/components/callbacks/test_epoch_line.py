"""What an epoch's line says: every metric, the monitored one first, and each optimizer's learning rate."""

import pytest

from espnet3.components.callbacks.epoch_line import epoch_line

ASR = {"train/loss": 0.123456, "valid/loss": 0.234567, "valid/token_error_rate": 0.031234}
NAMES = ("mel_l1", "adversarial", "feature_matching", "discriminator/loss", "generator/loss")
GAN = {f"{split}/{name}": 1.2345 for split in ("train", "valid") for name in NAMES} | {
    f"train/{name}/{key}": 123.0
    for name in ("generator", "discriminator")
    for key in ("lr", "update_step", "grad_norm")
}


def test_metrics_of_both_splits_the_learning_rate_and_the_speed():
    line = epoch_line("epoch 3/20", {"train/loss": 1.5, "valid/loss": 2.5}, {"": 0.01}, 612.4, "valid/loss")
    assert line == "epoch 3/20: valid loss 2.5, train loss 1.5, lr 0.01, 612 utterances/s"
    line = epoch_line("epoch 3/20, batch 7/90", {"train/loss": 1.5}, {"": 0.01}, 0.512, "valid/loss")
    assert line == "epoch 3/20, batch 7/90: train loss 1.5, lr 0.01, 0.51 utterances/s"


def test_the_monitored_metric_comes_first_then_losses_then_all_others():
    line = epoch_line("epoch 12/25", ASR, {"": 0.00123}, 612.4, "valid/token_error_rate")
    said = "valid token_error_rate 0.0312 loss 0.235, train loss 0.123, lr 0.00123, 612 utterances/s"
    assert line == f"epoch 12/25: {said}"


@pytest.mark.parametrize("monitor", ["valid/mel_l1", "train/adversarial", "valid/" + "very_" * 20 + "long"])
def test_no_metric_is_left_out_and_the_monitored_one_is_the_first(monitor):
    line = epoch_line("epoch 12/15", GAN | {monitor: 7.5}, {"": 1e-3}, 61.2, monitor)
    split, _, key = monitor.partition("/")
    assert line.startswith(f"epoch 12/15: {split} {key} 7.5 ")
    for name in NAMES:
        assert line.count(f" {name} ") == 2


def test_each_optimizers_rate_has_its_name_and_its_other_numbers_are_left_to_the_loggers():
    line = epoch_line("epoch 1", GAN, {"generator": 2e-4, "discriminator": 2e-4}, 1.0, "valid/mel_l1")
    assert "lr generator 2e-4 discriminator 2e-4, 1 utterances/s" in line
    assert "update_step" not in line and "grad_norm" not in line


def test_no_speed_where_nothing_was_counted():
    assert epoch_line("epoch 2", {"valid/loss": 1.0}, {"": 0.1}, None) == "epoch 2: valid loss 1, lr 0.1"
