"""Broken data end a command before the stage that would read them; good ones are checked once."""

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

pytestmark = pytest.mark.slow
STAGE_1 = ("--stop-stage", "1")


def test_broken_test_audio_is_told_before_stage_1_and_can_be_mended_or_left_out(template: Path, run):
    code, output = run(template, "--stop-stage", "0")
    assert code == 0, output
    good = (template / "data" / "wav" / "test-003.wav").read_bytes()
    (template / "data" / "wav" / "test-003.wav").write_bytes(good[: len(good) // 2])
    soundfile.write(template / "data" / "wav" / "train-005.wav", np.zeros(2000), 8000)
    code, output = run(template, *STAGE_1)
    assert code == 2, output
    assert re.search(r"data/test\.jsonl:4: uid 'test-003' \S*wav is truncated", output)
    assert re.search(r"data/train\.jsonl:6: uid 'train-005' \S*wav is silent", output)
    exp_dir = template / "exp" / "default"
    assert len((exp_dir / "data_check.txt").read_text().splitlines()) == 3
    assert "collect_stats starts" not in output and not (exp_dir / "attempts" / "collect_stats-1").exists()

    code, output = run(template, "--stage", "1", "--stop-stage", "1", "dataset.on_bad=skip")
    assert code == 0, output
    assert "2 of them left out" in output and "95 train and 32 valid utterances" in output
    code, output = run(template, "--stage", "1", "--stop-stage", "1", "dataset.on_bad=skip")
    assert code == 0 and "stage 1 collect_stats: skipped" in output and "check," not in output

    (template / "data" / "wav" / "test-003.wav").write_bytes(good)
    code, output = run(template, *STAGE_1, "--check", "quick")  # headers alone: silence is not found
    assert code == 0 and "quick check" in output, output
    assert not (exp_dir / "data_check.txt").exists()


def test_what_cannot_be_imported_is_told_before_stage_0(template: Path, run):
    source = (template / "model.py").read_text()
    (template / "model.py").write_text(f"{source}\nraise RuntimeError('needs a newer driver')\n")
    code, output = run(template)
    assert code == 2 and "model.PitchModel can't be imported" in output, output
    assert re.search(r"model\.py:\d+: RuntimeError: needs a newer driver", output)
    assert not (template / "data" / "wav").exists()
    code, output = run(template, "model._target_=model.PitchModl")
    assert code == 2 and "model.py has no PitchModl; did you mean PitchModel?" in output


def test_an_error_in_a_transform_is_one_line_and_its_traceback_is_in_the_log(template: Path, run):
    (template / "louder.py").write_text(
        "def louder(sample):\n    if sample['uid'] == 'train-007':\n        raise ValueError('too loud')\n"
        "    return sample\n"
    )
    louder = "+dataset.preprocessor={_target_: louder.louder, _partial_: true}"
    for workers in (0, 1):
        code, output = run(template, *STAGE_1, louder, f"collect_stats.num_workers={workers}")
        assert code == 1, output
        (line,) = (line for line in output.splitlines() if "too loud" in line)
        assert "uid 'train-007' (" in line and "wav/train-007.wav): in the preprocessor: ValueError" in line
        assert "Traceback" not in output
        log = (
            template / "exp" / "default" / "logs" / "collect_stats" / f"attempt-{workers + 1}" / "rank-0.log"
        )
        assert "louder.py" in log.read_text() and "Traceback" in log.read_text()
