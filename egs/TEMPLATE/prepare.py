"""Stage 0: make a corpus of short noisy tones of four pitches, in a second."""

import json
from pathlib import Path

import numpy as np
import soundfile

from espnet3.rundir.files.atomic import write_text
from espnet3.rundir.stop import Stopped
from espnet3.rundir.task import StageResult, Task

PITCHES_HZ = (220.0, 330.0, 440.0, 660.0)
SAMPLE_RATE = 8000


def prepare(data_dir: str, sizes: dict[str, int], seed: int, task: Task) -> StageResult:
    """Write `<data_dir>/wav/*.wav` and one JSON-lines manifest per split.

    Args:
        data_dir: where to; made if missing.
        sizes: split -> number of utterances.
        seed: the same seed makes the same bytes.
        task: says when to stop (Ctrl-C, a time limit), and shows the progress.

    Raises:
        Stopped: asked to stop; the same command makes the corpus again.
    """
    directory = Path(data_dir)
    (directory / "wav").mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    manifests, done = [], 0
    for split, size in sizes.items():
        lines = []
        for number in range(size):
            if task.stop.is_set():
                raise Stopped(f"{task.stop.reason}: {done} utterances were written")
            uid = f"{split}-{number:03d}"
            label = int(rng.integers(len(PITCHES_HZ)))
            soundfile.write(directory / "wav" / f"{uid}.wav", _tone(label, rng), SAMPLE_RATE)
            lines.append(json.dumps({"uid": uid, "audio": f"wav/{uid}.wav", "label": label}))
            done += 1
            task.heartbeat.update(unit="utterance", done=done, total=sum(sizes.values()))
        manifests.append(directory / f"{split}.jsonl")
        write_text(manifests[-1], "\n".join(lines) + "\n")  # last: a manifest names only what is there
    return StageResult(summary=f"{done} utterances", where=directory, outputs=manifests)


def _tone(label: int, rng: np.random.Generator) -> np.ndarray:
    """A tone of 0.2 to 0.4 s with three harmonics, in noise: (T,) float."""
    seconds = np.arange(int(SAMPLE_RATE * rng.uniform(0.2, 0.4))) / SAMPLE_RATE
    pitch = PITCHES_HZ[label] * rng.uniform(0.97, 1.03)
    tone = sum(np.sin(2 * np.pi * pitch * k * seconds + rng.uniform(0, 6.28)) / k for k in (1, 2, 3))
    return 0.2 * tone + 0.1 * rng.standard_normal(len(seconds))
