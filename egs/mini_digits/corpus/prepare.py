"""Stage 0: make the audio and the manifests of mini_digits, in parallel and so that it can be interrupted."""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import soundfile

from corpus import noise, speech, utterance, voices
from corpus.utterance import Settings, Utterance, plan, render
from corpus.workers import init_worker
from espnet3.errors import UserError
from espnet3.rundir.files.atomic import replace_file, write_text
from espnet3.rundir.stop import Stopped
from espnet3.rundir.task import StageResult, Task

CHUNK = 16
"""Utterances that a worker makes at a time; a request to stop is checked in between."""


def prepare(
    *,
    manifests: Mapping[str, str],
    utterances: Mapping[str, int],
    seed: int,
    sample_rate: int,
    digits: Sequence[int],
    speed: Sequence[int],
    pitch: Sequence[int],
    snr_db: Sequence[float],
    workers: int,
    task: Task,
) -> StageResult:
    """Make the corpus; what an earlier, interrupted call finished is kept.

    Audio lies beside the manifests, in `audio/<fingerprint>/<split>/<uid>.wav`: other settings
    make other files, and those of earlier settings are removed once the manifests name the new ones. The
    files are the same, byte for byte, for any number of workers and of interruptions.

    Args:
        manifests: split -> the JSON-lines file to write, all in one folder.
        utterances: split -> how many.
        seed: of all random numbers.
        sample_rate: in Hz.
        digits: the least and the most digits of an utterance.
        speed: the least and the greatest speed, in words per minute.
        pitch: the lowest and the highest pitch, 0 to 99.
        snr_db: the least and the greatest signal-to-noise ratio, in dB.
        workers: processes; speed only.
        task: its heartbeat is updated, and its `stop` is checked.

    Raises:
        UserError: for a key that has no sensible value.
        Stopped: asked to stop; the next call continues from there.
    """
    settings = Settings(
        seed=seed,
        sample_rate=sample_rate,
        digits=_range("digits", digits, 1, 50),
        speed=_range("speed", speed, 80, 450),
        pitch=_range("pitch", pitch, 0, 99),
        snr_db=_range("snr_db", snr_db, -40, 100),
    )
    _check(manifests, utterances, sample_rate, workers)
    folder = Path(next(iter(manifests.values()))).parent
    audio = folder / "audio" / _fingerprint(settings)
    jobs = []
    for split, count in utterances.items():
        (audio / split).mkdir(parents=True, exist_ok=True)
        planned = (plan(settings, split, number) for number in range(count))
        jobs += [Job(split, wanted, audio / split / f"{wanted.uid}.wav", sample_rate) for wanted in planned]
    samples = _make_all(jobs, workers, task)
    for split, path in manifests.items():
        lines = [_line(job, samples[job.path], folder) for job in jobs if job.split == split]
        write_text(Path(path), "".join(lines))
    _remove_stale(folder / "audio", {job.path for job in jobs})
    hours = sum(samples.values()) / sample_rate / 3600
    paths = [Path(path) for path in manifests.values()]
    return StageResult(
        summary=f"{len(jobs):,} utterances ({hours:.1f} h)",
        where=folder,
        outputs=[*paths, *(job.path for job in jobs)],
    )


@dataclass(frozen=True)
class Job:
    """One file to be made."""

    split: str
    utterance: Utterance
    path: Path
    sample_rate: int


def make(jobs: Sequence[Job]) -> dict[Path, int]:
    """Make the files that do not exist yet; returns the number of samples of each."""
    return {job.path: _samples(job.path) or _write(job) for job in jobs}


def _write(job: Job) -> int:
    samples = render(job.utterance, job.sample_rate)
    with replace_file(job.path) as temporary:
        soundfile.write(temporary, samples, job.sample_rate, format="WAV", subtype="PCM_16")
    return len(samples)


def _samples(path: Path) -> int:
    """How many samples `path` has; 0 when it does not exist or cannot be read."""
    if not path.exists():
        return 0
    try:
        return int(soundfile.info(path).frames)
    except soundfile.LibsndfileError:
        return 0


def _make_all(jobs: Sequence[Job], workers: int, task: Task) -> dict[Path, int]:
    """`make` in worker processes, with progress; raises Stopped between two chunks."""
    samples: dict[Path, int] = {}
    context = get_context("spawn")  # a fork would inherit locks of this process's threads
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=init_worker, initargs=(os.getpid(),))
    try:
        running = {pool.submit(make, jobs[start : start + CHUNK]) for start in range(0, len(jobs), CHUNK)}
        while running:
            finished, running = wait(running, timeout=0.2, return_when=FIRST_COMPLETED)
            for future in finished:
                samples |= future.result()
            task.heartbeat.update(unit="utterance", done=len(samples), total=len(jobs))
            if running and task.stop.is_set():
                raise Stopped(f"{len(samples)} of {len(jobs)} utterances are made")
    finally:
        pool.shutdown(cancel_futures=True)
    task.heartbeat.update(force=True, unit="utterance", done=len(samples), total=len(jobs))
    return samples


def _line(job: Job, samples: int, folder: Path) -> str:
    entry = job.utterance.entry()
    audio = job.path.relative_to(folder).as_posix()
    return json.dumps({"uid": entry.pop("uid"), "audio": audio, **entry, "samples": samples}) + "\n"


def _fingerprint(settings: Settings) -> str:
    """A hash of what determines the audio: the settings, the code that makes it, and the synthesizer."""
    digest = hashlib.sha256(json.dumps(asdict(settings), sort_keys=True).encode())
    digest.update(version("espeakng-loader").encode())
    for module in (noise, speech, utterance, voices):
        digest.update(Path(module.__file__).read_bytes())
    return digest.hexdigest()[:10]


def _remove_stale(audio: Path, keep: set[Path]) -> None:
    """Remove files of earlier settings, of larger numbers of utterances and of killed workers; no others."""
    current = {path.parents[1].name for path in keep}
    for folder in audio.iterdir():
        if not re.fullmatch("[0-9a-f]{10}", folder.name):
            continue
        if folder.name not in current:
            shutil.rmtree(folder, ignore_errors=True)
            continue
        for path in folder.glob("*/*"):
            if path not in keep:
                path.unlink(missing_ok=True)


def _range(key: str, given: Any, least: float, most: float) -> tuple[Any, Any]:
    values = tuple(given) if isinstance(given, Sequence) and not isinstance(given, str) else ()
    if len(values) != 2 or not least <= values[0] <= values[1] <= most:
        raise UserError(f"prepare.{key} must be [low, high] between {least} and {most}, given: {given}")
    return values


def _check(
    manifests: Mapping[str, str], utterances: Mapping[str, int], sample_rate: int, workers: int
) -> None:
    if set(utterances) != set(manifests) or not set(utterances) <= set(voices.SPEAKERS):
        raise UserError(
            f"prepare.utterances has {', '.join(utterances)} and manifests {', '.join(manifests)};"
            f" both must name the same splits, out of {', '.join(voices.SPEAKERS)}"
        )
    if len({Path(path).parent for path in manifests.values()}) != 1:
        raise UserError("manifests: the files must lie in one folder")
    for key, value in (*((f"utterances.{split}", count) for split, count in utterances.items()),):
        if value < 1:
            raise UserError(f"prepare.{key} must be at least 1, given: {value}")
    if not 4000 <= sample_rate <= 48000:
        raise UserError(f"prepare.sample_rate must be 4000 to 48000 Hz, given: {sample_rate}")
    if workers < 1:
        raise UserError(f"prepare.workers must be at least 1, given: {workers}")
