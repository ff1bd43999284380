"""Stage 3: resynthesis of a split from its mel features, with scores, audio and pictures."""

import importlib.util
import math
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import torch
from pystoi import stoi as pystoi_stoi

from espnet3.components.data.combined_dataset import CombinedDataset
from espnet3.rundir.files.atomic import replace_file, write_text
from espnet3.rundir.stop import Stopped
from espnet3.rundir.task import Task
from picture import Panel, draw_mels

PESQ_RATES = {8000: "nb", 16000: "wb"}
"""Sample rates that PESQ is defined for, and its mode there."""


@dataclass(frozen=True)
class Score:
    """Scores of one utterance; what could not be measured is NaN."""

    uid: str
    mel_l1: float
    """Mean distance of the log-mel features, in nats."""
    stoi: float
    """Short-time objective intelligibility, at most 1: https://doi.org/10.1109/TASL.2011.2114881."""
    pesq: float
    """Perceptual quality (ITU-T P.862), about 1 to 4.5; where the package pesq is installed."""


class Resynthesis:
    """Resynthesizes a split; the evaluator of this recipe.

    It writes into the split's directory `scores.tsv`, a line for each utterance, `<uid>.wav` beside
    `<uid>-reference.wav` for some of them, and `mels.png`, their log-mel features side by side.

    Args:
        samples: how many utterances are written and drawn; they are spread evenly over the split.
    """

    def __init__(self, samples: int = 4) -> None:
        self.samples = samples

    def __call__(
        self, model: torch.nn.Module, dataset: CombinedDataset, split: str, directory: Path, task: Task
    ) -> dict[str, float]:
        """Give the means over the utterances of `mel_l1`, `stoi` and, where it is installed, `pesq`.

        Raises:
            Stopped: asked to stop; no score was written.
        """
        device = next(model.parameters()).device
        rate = model.mel.sample_rate
        chosen = spread(len(dataset), self.samples)
        remove_samples(directory)
        scores: list[Score] = []
        panels: list[Panel] = []
        for index in range(len(dataset)):
            if task.stop.is_set():
                raise Stopped(f"{len(scores)} of {len(dataset)} utterances of {split} were scored")
            uid, data = dataset[index]
            speech = torch.as_tensor(data["speech"], device=device)[None]
            generated = model.resynthesize(speech)
            reference = speech[:, : generated.shape[1]]
            mels = model.mel(reference)[0].cpu().numpy(), model.mel(generated)[0].cpu().numpy()
            waves = reference[0].cpu().numpy(), generated[0].cpu().numpy()
            distance = float(np.abs(mels[1] - mels[0]).mean())
            scores.append(Score(uid, distance, stoi(*waves, rate), pesq(*waves, rate)))
            if index in chosen:
                write_wav(directory / f"{uid}-reference.wav", waves[0], rate)
                write_wav(directory / f"{uid}.wav", waves[1], rate)
                panels.append(Panel(uid, *mels))
            task.heartbeat.update(unit="utterance", done=len(scores), total=len(dataset))
        draw_mels(panels, directory / "mels.png", frames_per_second=rate / model.mel.hop)
        write_text(directory / "scores.tsv", table(scores))
        return means(scores)


def stoi(reference: np.ndarray, generated: np.ndarray, sample_rate: int) -> float:
    """STOI of waves (T,) and (T,); NaN for less than 0.4 s of speech, of which it cannot be computed."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "Not enough STFT frames", RuntimeWarning)
        try:
            return float(pystoi_stoi(reference, generated, sample_rate))
        except RuntimeWarning:
            return math.nan


def pesq(reference: np.ndarray, generated: np.ndarray, sample_rate: int) -> float:
    """PESQ of waves (T,) and (T,); NaN where the package is missing, at other rates, or without speech."""
    if sample_rate not in PESQ_RATES or importlib.util.find_spec("pesq") is None:
        return math.nan
    from pesq import PesqError
    from pesq import pesq as package_pesq

    try:
        return float(package_pesq(sample_rate, reference, generated, PESQ_RATES[sample_rate]))
    except PesqError:
        return math.nan


def means(scores: list[Score]) -> dict[str, float]:
    """Means over the utterances in which each was measured; a measure that none has is left out."""
    columns = {name: [getattr(score, name) for score in scores] for name in ("mel_l1", "stoi", "pesq")}
    measured = {name: [v for v in column if not math.isnan(v)] for name, column in columns.items()}
    return {name: sum(column) / len(column) for name, column in measured.items() if column}


def table(scores: list[Score]) -> str:
    """Tab-separated lines under a header, the greatest mel distance first."""
    lines = ["uid\tmel_l1\tstoi\tpesq"]
    for score in sorted(scores, key=lambda score: (-score.mel_l1, score.uid)):
        lines.append(f"{score.uid}\t{score.mel_l1:.4f}\t{score.stoi:.4f}\t{score.pesq:.4f}")
    return "\n".join(lines) + "\n"


def spread(count: int, chosen: int) -> set[int]:
    """`chosen` of the numbers 0 to `count` - 1, evenly spread; all of them where there are fewer."""
    chosen = min(count, chosen)
    return {(2 * number + 1) * count // (2 * chosen) for number in range(chosen)}


def write_wav(path: Path, wave: np.ndarray, sample_rate: int) -> None:
    """Write samples (T,) between -1 and 1 as 16-bit audio; louder ones are clipped."""
    with replace_file(path) as temporary:
        soundfile.write(temporary, wave.clip(-1, 1), sample_rate, format="WAV", subtype="PCM_16")


def remove_samples(directory: Path) -> None:
    """Remove the audio of an earlier run, which may have chosen other utterances."""
    for path in directory.glob("*.wav"):
        path.unlink()
