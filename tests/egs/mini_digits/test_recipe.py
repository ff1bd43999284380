"""The whole recipe by its command line, on a tenth of the corpus."""

import json
import shutil
from pathlib import Path

import pytest

from espnet3.components.checkpoint.ranking import read_ranking

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
