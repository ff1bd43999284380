"""The metrics of a run: one number for each name."""

from espnet3.rundir.metrics import run_metrics


def test_what_the_training_measured_comes_first_and_stage_3_adds_what_only_it_measures():
    train = {"valid/wer": 0.25, "valid/loss": 1.5}
    validate = {"valid/wer": 0.3, "valid/cer": 0.1, "test/wer": 0.4}
    metrics = run_metrics({"prepare": {}, "train": train, "validate": validate})
    assert metrics == {"valid/wer": 0.25, "valid/loss": 1.5, "valid/cer": 0.1, "test/wer": 0.4}
    assert next(iter(metrics)) == "valid/wer", "the monitored one"
    assert run_metrics({"validate": validate}) == validate and run_metrics({}) == {}


def test_of_an_earlier_version_the_best_checkpoints_value_is_taken():
    train = {"valid/acc": 0.5, "valid/loss": 3.0, "best valid/loss": 2.0}
    assert run_metrics({"train": train}) == {"valid/acc": 0.5, "valid/loss": 2.0}
