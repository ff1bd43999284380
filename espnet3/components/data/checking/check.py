"""Check the data of all splits: lines, uids, texts, audio, and what the recipe needs of an utterance."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Literal

import numpy as np

from espnet3.components.data.checking.audio_cache import AudioCache
from espnet3.components.data.checking.utterance import Problem, Utterance
from espnet3.components.data.combined_dataset import CombinedDataset, DatasetEntry
from espnet3.components.data.data_organizer import DataOrganizer
from espnet3.components.data.manifest import BrokenLine, ListedAudio
from espnet3.config.checks.scored_splits import SPLITS
from espnet3.errors import short_path

Level = Literal["manifests", "quick", "full"]
"""What is read: manifests; headers of audio, too; all samples, too."""
Progress = Callable[[int, int], None]
"""Called with (utterances done, utterances in all); may raise to stop."""
MOST_THREADS = 32
_CHUNK = 512
_LONG_S, _LONG_FACTOR = 30.0, 20
"""An utterance longer than this, and than so many medians, is remarked on."""


@dataclass
class Findings:
    """What the check has found."""

    utterances: dict[str, int] = field(default_factory=dict)
    """Split -> how many there are, the unusable ones included."""
    problems: list[Problem] = field(default_factory=list)
    """In the order of splits, manifests and lines."""
    remarks: list[str] = field(default_factory=list)
    """What is unusual, and wrong perhaps."""
    copies: list[str] = field(default_factory=list)
    """Datasets all of whose uids are in another split: "test 'mine' is a copy of valid"."""
    files: list[Path] = field(default_factory=list)
    """What was checked; some may be missing."""

    def left_out(self, split: str) -> dict[str, dict[int, str]]:
        """The unusable samples of a split: dataset -> index in it -> uid."""
        found: dict[str, dict[int, str]] = {}
        for problem in self.problems:
            if problem.split == split and problem.index is not None:
                found.setdefault(problem.entry, {})[problem.index] = problem.uid
        return found


@dataclass(frozen=True, eq=False)
class _Sample:
    split: str
    entry: DatasetEntry
    index: int
    uid: str
    listed: ListedAudio | None

    def problem(self, text: str) -> Problem:
        manifest, line = (self.listed.manifest, self.listed.line) if self.listed else (None, 0)
        return Problem(self.split, self.entry.name, self.index, self.uid, _short(manifest), line, text)


def check_data(
    organizer: DataOrganizer,
    broken: Sequence[BrokenLine],
    cache: AudioCache,
    level: Level,
    progress: Progress = lambda done, total: None,
) -> Findings:
    """Check all splits of `organizer`.

    Args:
        organizer: the data, made within `broken_lines_left_out`.
        broken: the lines that were left out when it was made.
        cache: examines audio files.
        level: how thoroughly.
        progress: called now and then.
    """
    found = Findings()
    samples: list[_Sample] = []
    for split in SPLITS:
        dataset: CombinedDataset = getattr(organizer, split)
        entries = list(dataset.entries.values())
        samples += [sample for entry in entries for sample in _samples(split, entry)]
        found.utterances[split] = sum(len(entry.dataset) for entry in entries)
        found.files += dataset.files()
        if entries and not found.utterances[split]:
            found.problems.append(Problem(split, entries[0].name, None, "", None, 0, "has no utterances"))
    manifests = {sample.listed.manifest: sample for sample in samples if sample.listed}
    for one in dict.fromkeys(broken):  # a manifest may be read for several splits
        owner = manifests.get(one.manifest)
        split, entry = (owner.split, owner.entry.name) if owner else (SPLITS[0], "")
        uid = "" if one.text.startswith("uid ") else one.uid
        found.problems.append(Problem(split, entry, None, uid, _short(one.manifest), one.line, one.text))
        found.utterances[split] += 1
    found.problems += _repeated_uids(samples, found)
    seconds: list[tuple[float, _Sample]] = []
    requires = organizer.check or (lambda utterance: ())
    for number, (sample, (texts, utterance)) in enumerate(_looked_at(samples, cache, level), start=1):
        blank = utterance.entry.get("text")
        if isinstance(blank, str) and not blank.strip():
            texts = [*texts, "its text is empty"]
        elif not texts or utterance.samples is not None:
            texts = [*texts, *(text for text in requires(utterance) if text not in texts)]
        found.problems += [sample.problem(text) for text in texts]
        if utterance.samples and utterance.sample_rate and not texts:
            seconds.append((utterance.samples / utterance.sample_rate, sample))
        if number % 64 == 0 or number == len(samples):
            progress(number, len(samples))
    found.remarks += _long_ones(seconds)
    order = {split: number for number, split in enumerate(SPLITS)}
    found.problems.sort(key=lambda one: (order.get(one.split, -1), str(one.file), one.line, one.index or 0))
    return found


def _samples(split: str, entry: DatasetEntry) -> Iterator[_Sample]:
    dataset: Any = entry.dataset
    uids = [str(uid) for uid in dataset.uids()] if hasattr(dataset, "uids") else None
    for index in range(len(dataset)):
        uid = uids[index] if uids else f"{entry.name}-{index}"
        listed = dataset.listed(index) if hasattr(dataset, "listed") else None
        yield _Sample(split, entry, index, uid, listed)


def _repeated_uids(samples: Iterable[_Sample], found: Findings) -> list[Problem]:
    """Uids that occur twice in a split, or in two; copies of splits, and what is unusual, go into `found`.

    The earlier split keeps them: training data are the same with any test set. Test sets are scored apart:
    two of them may have the same uid.
    """
    first: dict[str, _Sample] = {}
    problems: list[Problem] = []
    shared: dict[Path, set[str]] = {}
    in_other: Counter[tuple[str, DatasetEntry, str]] = Counter()
    for sample in sorted(samples, key=lambda one: SPLITS.index(one.split)):
        other = first.setdefault(sample.uid, sample)
        if other is sample or (sample.split == other.split == "test" and sample.entry != other.entry):
            continue
        if (
            sample.split != other.split
            and sample.listed
            and other.listed
            and (sample.listed.manifest.resolve() == other.listed.manifest.resolve())
        ):
            shared.setdefault(sample.listed.manifest, set()).update((sample.split, other.split))
            continue
        where = f"{_short(other.listed.manifest)}:{other.listed.line}" if other.listed else other.entry.where
        in_other[sample.split, sample.entry, other.split] += sample.split != other.split
        same = f"in {other.split}, too" if sample.split != other.split else "twice"
        problems.append(sample.problem(f"is {same}: {where}"))
    for manifest, splits in shared.items():
        names = " and ".join(split for split in SPLITS if split in splits)
        found.remarks.append(f"{names} read the same manifest, {_short(manifest)}")
    for (split, entry, other_split), count in in_other.items():
        if count == len(entry.dataset):
            found.copies.append(f"{split} {entry.name!r} is a copy of {other_split}")
    return problems


def _looked_at(
    samples: Sequence[_Sample], cache: AudioCache, level: Level
) -> Iterator[tuple[_Sample, tuple[list[str], Utterance]]]:
    """Each sample, with what is wrong with its audio, and what the recipe's check gets."""
    threads = min(MOST_THREADS, len(os.sched_getaffinity(0)))
    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(samples), _CHUNK * threads):
            chunk = samples[start : start + _CHUNK * threads]
            # libsndfile runs without Python's lock; a dataset of the recipe may not be used by two threads.
            looks = {sample: pool.submit(_look, sample, cache, level) for sample in chunk if sample.listed}
            try:
                for sample in chunk:
                    future = looks.get(sample)
                    yield sample, future.result() if future else _read(sample, level)
            except BaseException:
                for future in looks.values():
                    future.cancel()
                raise


def _look(sample: _Sample, cache: AudioCache, level: Level) -> tuple[list[str], Utterance]:
    assert sample.listed is not None
    entry, audio = sample.listed.entry, sample.listed.audio
    if level == "manifests":
        return [], Utterance(sample.uid, entry)
    facts = cache.examine(audio, decode=level == "full")
    problem = facts.problem or (facts.sample_problem if level == "full" else "")
    if problem:
        return [f"{_short(audio)} {problem}"], Utterance(sample.uid, entry)
    needed = getattr(sample.entry.dataset, "sample_rate", None)
    texts = [f"has {facts.sample_rate:,} Hz; sample_rate is {needed:,}"] if needed else []
    texts = texts if needed != facts.sample_rate else []
    return texts, Utterance(sample.uid, entry, facts.samples, facts.sample_rate)


def _read(sample: _Sample, level: Level) -> tuple[list[str], Utterance]:
    """Of a dataset without a manifest: the sample itself, read as the training will."""
    if level != "full":
        return [], Utterance(sample.uid, {})
    try:
        data = sample.entry.dataset[sample.index]
    except Exception as error:  # whatever the recipe's code raises is the finding
        return [f"cannot be read: {type(error).__name__}: {error}".splitlines()[0]], Utterance(sample.uid, {})
    if not isinstance(data, dict):
        return [f"is a {type(data).__name__}, not a dict"], Utterance(sample.uid, {})
    texts = []
    for key, value in data.items():
        array = np.asarray(value) if hasattr(value, "__array__") else np.zeros(1)
        if not array.size:
            texts.append(f"{key!r} is empty")
        elif array.dtype.kind == "f" and not np.isfinite(array).all():
            texts.append(f"{key!r} has NaN or Inf")
    speech: Any = data.get("speech")
    return texts, Utterance(sample.uid, data, len(speech) if hasattr(speech, "__len__") else None)


def _long_ones(seconds: Sequence[tuple[float, _Sample]]) -> Iterator[str]:
    if not seconds:
        return
    middle = median(length for length, _ in seconds)
    longest, sample = max(seconds, key=lambda one: one[0])
    if longest > max(_LONG_S, _LONG_FACTOR * middle):
        yield (
            f"uid {sample.uid!r} is {longest:,.0f} s long, {longest / middle:,.0f} times the median: a batch"
            " that holds it needs as much memory (a `max_seconds` of dataset.check refuses such)"
        )


def _short(path: Path | None) -> Path | None:
    return None if path is None else Path(short_path(path))
