"""The whole recipes by their command lines, on a tenth of the corpus or less."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from espnet3.components.checkpoint.ranking import read_ranking
from espnet3.rundir.layout import attempt_dir
from espnet3.rundir.records.attempt import read_attempt

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.slow
def test_the_small_experiment_runs_all_stages_and_then_skips_them(run, tmp_path: Path):
    corpus = tmp_path / "egs" / "mini_digits"
    leave = shutil.ignore_patterns("exp", "data", "__pycache__")
    shutil.copytree(ROOT / "egs" / "mini_digits", corpus, ignore=leave)
    recipe = corpus / "asr"
    small = ("+experiment=small", "trainer.max_epochs=3", "dataloader.valid.iter_factory.batch_size=3")
    code, output = run(recipe, *small)
    assert code == 0, output
    folder = recipe / "exp" / "small"
    metrics = json.loads((folder / "validate" / "metrics.json").read_text())
    rates = {"token_error_rate", "utterance_error_rate"}
    assert metrics["metrics"].keys() == {"valid", "test"}
    for own in metrics["metrics"].values():
        assert own.keys() == rates and all(0 <= rate <= 1 for rate in own.values())
    best = read_ranking(folder / "checkpoints").best[0]
    assert metrics["metrics"]["valid"]["token_error_rate"] == pytest.approx(best.value), "as stage 2 measured"
    for split, count in (("valid", 20), ("test", 30)):
        text = (folder / "validate" / split / "hypotheses.txt").read_text()
        assert text.count("  ref  ") == text.count("  hyp  ") == count
    assert (folder / "validate" / "learning_curve.png").is_file()
    assert (folder / "checkpoints" / "last.ckpt").is_file()
    assert len(list((corpus / "data" / "small").rglob("*.wav"))) == 200

    code, output = run(recipe, *small)
    assert code == 0 and output.count("skipped") == 4, output


@pytest.mark.slow
def test_a_vocoder_with_a_much_too_large_learning_rate_fails_as_diverged(run, tmp_path: Path):
    exp_dir = tmp_path / "exp"
    code, output = run(
        ROOT / "egs" / "mini_digits" / "vocoder", "+experiment=small", f"data_dir={tmp_path / 'data'}",
        f"exp_dir={exp_dir}", f"stats_dir={tmp_path / 'stats'}", "min_snr_db=8.0",
        "prepare.utterances={train: 24, valid: 4, test: 4}", "trainer.max_epochs=3",
        "optimizers.generator.optimizer.lr=1e6",
    )  # fmt: skip
    assert code == 1, output
    assert "diverged at epoch 1, batch 2: no batch from there on had a finite loss" in output
    assert "stage 3" not in output
    attempt = read_attempt(attempt_dir(exp_dir, "train", 1))
    assert attempt is not None and attempt.result is not None and attempt.result.outcome == "failed"
    assert read_ranking(exp_dir / "checkpoints") is None, "no epoch has a metric"
    for path in (exp_dir / "checkpoints").glob("*.ckpt"):
        state = torch.load(path, weights_only=True)["state_dict"]
        assert all(weight.isfinite().all() for weight in state.values()), path.name
