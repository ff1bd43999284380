"""One report of all that is wrong with the data, by manifest, line and uid; nothing else is complained of."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from espnet3.components.data.checking.audio import AudioFacts, examine
from espnet3.components.data.checking.audio_cache import AudioCache
from espnet3.components.data.checking.check import Findings, Level, check_data
from espnet3.components.data.checking.requirements import Requirements
from espnet3.components.data.checking.utterance import Problem
from espnet3.components.data.data_organizer import DataOrganizer
from espnet3.components.data.manifest import ManifestDataset, broken_lines_left_out
from espnet3.errors import UserError

RATE = 8000
NOISE = np.random.default_rng(0).uniform(-0.5, 0.5, 4000)
CTC = Requirements(min_samples=256, max_seconds=2, characters="abcdefghij ", ctc_stride=400)


class Corpus:
    """Splits of good utterances, some of which are spoilt."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lines: dict[str, list[Any]] = {}
        for split, count in (("train", 12), ("valid", 4), ("test", 4)):
            (folder / split).mkdir()
            self.lines[split] = []
            for number in range(count):
                name = f"{split}/{number}.wav"
                soundfile.write(folder / name, NOISE, RATE)
                self.lines[split].append({"uid": f"{split}-{number}", "audio": name, "text": "abc"})

    def write(self, split: str, number: int, samples: np.ndarray, rate: int = RATE, **options: Any) -> Path:
        path = self.folder / f"{split}/{number}.wav"
        soundfile.write(path, samples, rate, **options)
        return path

    def check(self, level: Level = "full", requires: Any = None, **options: Any) -> Findings:
        for split, lines in self.lines.items():
            texts = (line if isinstance(line, str) else json.dumps(line) for line in lines)
            (self.folder / f"{split}.jsonl").write_text("".join(f"{text}\n" for text in texts))
        self.cache = AudioCache(self.folder / "check" / "audio.json")
        with broken_lines_left_out() as broken:
            organizer = self.organizer(requires)
        found = check_data(organizer, broken, self.cache, level, **options)
        self.cache.save()
        return found

    def organizer(self, requires: Any = None) -> DataOrganizer:
        splits: Any = {
            split: [{"name": split, "dataset": ManifestDataset(self.folder / f"{split}.jsonl", RATE)}]
            for split in self.lines
        }
        return DataOrganizer(**splits, check=requires)


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return Corpus(tmp_path)


def told(found: Findings) -> dict[tuple[str, int], str]:
    """(split, line) -> what is said of it."""
    return {(problem.split, problem.line): str(problem) for problem in found.problems}


@pytest.fixture
def spoilt(corpus: Corpus) -> Corpus:
    """One defect of each kind."""
    train, valid, _ = corpus.lines.values()
    corpus.write("train", 0, NOISE[:0])
    corpus.write("train", 1, NOISE[:100])
    corpus.write("train", 2, np.where(np.arange(4000) == 7, np.nan, NOISE), subtype="FLOAT")
    corpus.write("train", 3, NOISE, rate=16000)
    train[4]["uid"] = "train-3"
    train[5]["uid"] = "test-0"
    train[6]["text"] = "  "
    train[7]["text"] = "abbbbb"
    corpus.write("train", 8, np.zeros(4000))
    corpus.write("train", 9, np.tile(NOISE, 10))
    train[10] = '{"uid": "half'
    valid[0]["text"] = "aéz"
    (corpus.folder / "test/1.wav").unlink()
    whole = corpus.write("test", 2, NOISE).read_bytes()
    (corpus.folder / "test/2.wav").write_bytes(whole[:2044])
    (corpus.folder / "test/3.wav").write_bytes(b"not a sound" * 100)
    return corpus


EXPECTED = {
    ("train", 1): "has no samples",
    ("train", 2): "has 100 samples; the least are 256",
    ("train", 3): "has NaN or Inf, first in sample 7",
    ("train", 4): "has 16,000 Hz; sample_rate is 8,000",
    ("train", 5): "uid 'train-3' is already used in line 4",
    ("train", 7): "its text is empty",
    ("train", 8): "its text needs 10 outputs (CTC); 4,000 samples give 10",
    ("train", 9): "is silent: every sample is 0",
    ("train", 10): "is 5.0 s long; max_seconds is 2",
    ("train", 11): "not a line of JSON",
    ("valid", 1): "its text has the unknown characters 'é', 'z'",
    ("test", 1): "uid 'test-0' is in train, too: ",
    ("test", 2): "does not exist",
    ("test", 3): "is truncated: its header says 8,000 bytes of samples, it has 2,000",
    ("test", 4): "cannot be decoded as audio",
}


def test_each_kind_is_told_once_with_manifest_line_and_uid_and_nothing_else(spoilt: Corpus):
    spoilt.lines["train"][7]["text"] = "abbbbbb"
    found = spoilt.check(requires=CTC)
    expected = {**EXPECTED, ("train", 8): "its text needs 12 outputs (CTC); 4,000 samples give 10"}
    lines = told(found)
    assert lines.keys() == expected.keys() and len(found.problems) == len(expected)
    for (split, number), text in expected.items():
        line = lines[split, number]
        assert text in line and f"{split}.jsonl:{number}:" in line, line
        assert "uid " in line or "JSON" in line
    assert found.utterances == {"train": 12, "valid": 4, "test": 4}


def test_a_text_of_as_many_tokens_as_there_are_outputs_is_fine(spoilt: Corpus):
    spoilt.lines["train"][7]["text"] = "abcdefghij"
    assert ("train", 8) not in told(spoilt.check(requires=CTC))


def test_without_a_recipes_check_its_needs_are_not_checked(spoilt: Corpus):
    known_without = {
        key for key, text in EXPECTED.items() if not text.startswith(("its text needs", "is 5.0"))
    }
    known_without -= {("train", 2), ("valid", 1)}
    assert told(spoilt.check()).keys() == known_without


def test_a_quick_check_reads_headers_and_one_of_manifests_no_audio(spoilt: Corpus):
    quick = told(spoilt.check("quick", CTC))
    assert EXPECTED.keys() - quick.keys() == {("train", 3), ("train", 8), ("train", 9)}
    lines = told(spoilt.check("manifests", CTC))
    assert lines.keys() == {("train", 5), ("train", 7), ("train", 11), ("valid", 1), ("test", 1)}


def test_good_data_have_no_problem_and_files_are_read_once_until_they_change(corpus: Corpus):
    seen: list[tuple[int, int]] = []
    found = corpus.check(requires=CTC, progress=lambda done, total: seen.append((done, total)))
    assert (found.problems, found.remarks, corpus.cache.examined) == ([], [], 20)
    assert seen[-1] == (20, 20)
    corpus.check(requires=CTC)
    assert corpus.cache.examined == 0
    corpus.write("test", 1, np.zeros(3000))
    assert [problem.uid for problem in corpus.check().problems] == ["test-1"]
    assert corpus.cache.examined == 1
    assert [problem.uid for problem in corpus.check().problems] == ["test-1"]
    assert corpus.cache.examined == 0


def test_a_header_that_was_read_does_not_count_as_decoded(corpus: Corpus):
    corpus.check("quick")
    assert corpus.cache.examined == 20
    corpus.check("full")
    assert corpus.cache.examined == 20
    corpus.write("train", 0, np.zeros(4000))
    assert len(corpus.check("full").problems) == 1
    assert corpus.check("quick").problems == [], "what a full check has found is no matter of a quick one"
    assert corpus.cache.examined == 0


def test_a_corpus_that_may_only_be_read_is_checked_all_the_same(corpus: Corpus):
    (corpus.folder / "check").write_text("in the way")
    assert corpus.check().problems == []


def test_two_splits_of_one_manifest_are_remarked_on_and_a_long_utterance_is_too(corpus: Corpus):
    corpus.write("train", 0, np.tile(NOISE, 80))
    corpus.check()
    (corpus.folder / "test.jsonl").unlink()
    (corpus.folder / "test.jsonl").symlink_to(corpus.folder / "valid.jsonl")
    found = check_data(corpus.organizer(), [], corpus.cache, "quick")
    assert found.problems == []
    same, long = found.remarks
    assert "valid and test read the same manifest" in same
    assert "uid 'train-0' is 40 s long, 80 times the median" in long


class Made:
    """A dataset without a manifest."""

    def __init__(self, samples: list[Any]) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Any:
        sample = self.samples[index]
        if isinstance(sample, Exception):
            raise sample
        return sample


def needs_text(utterance: Any) -> Iterable[str]:
    if not utterance.entry.get("text"):
        yield "lacks a text"


def test_a_dataset_without_a_manifest_is_read_as_the_training_will(tmp_path: Path):
    good = {"speech": NOISE, "text": "a"}
    samples = [
        good,
        ValueError("torn"),
        {**good, "speech": NOISE * np.nan},
        {**good, "speech": NOISE[:0]},
        {},
    ]
    organizer = DataOrganizer(train=[{"name": "made", "dataset": Made(samples)}], check=needs_text)
    found = check_data(organizer, [], AudioCache(tmp_path / "cache"), "full")
    assert [str(problem) for problem in found.problems] == [
        "dataset.train ('made'): uid 'made-1' cannot be read: ValueError: torn",
        "dataset.train ('made'): uid 'made-2' 'speech' has NaN or Inf",
        "dataset.train ('made'): uid 'made-3' 'speech' is empty",
        "dataset.train ('made'): uid 'made-4' lacks a text",
    ]
    assert found.left_out("train") == {"made": {number: f"made-{number}" for number in (1, 2, 3, 4)}}


def test_an_empty_split_and_contradicting_requirements_are_told(corpus: Corpus):
    corpus.lines["valid"] = []
    assert "has no utterances" in str(corpus.check().problems[0])
    with pytest.raises(UserError, match="give one of them"):
        Requirements(characters="ab", words=["a"])
    with pytest.raises(UserError, match="ctc_stride needs"):
        Requirements(ctc_stride=4)


@pytest.mark.parametrize("suffix", [".flac", ".ogg", ".wav"])
def test_formats_are_decoded_and_a_cut_one_is_told(tmp_path: Path, suffix: str):
    path = tmp_path / f"a{suffix}"
    soundfile.write(path, NOISE, RATE)
    assert examine(path, decode=True) == AudioFacts("", "", RATE, 4000, decoded=True)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    cut = examine(path, decode=True)
    assert cut.problem or cut.sample_problem


def test_wav_of_unknown_size_from_a_pipe_is_fine(tmp_path: Path):
    path = tmp_path / "a.wav"
    soundfile.write(path, NOISE, RATE)
    content = bytearray(path.read_bytes())
    content[4:8] = content[40:44] = b"\xff\xff\xff\xff"
    path.write_bytes(content)
    assert examine(path, decode=True) == AudioFacts("", "", RATE, 4000, decoded=True)


def test_a_test_set_that_is_a_copy_of_another_split_is_called_one(corpus: Corpus):
    for number, line in enumerate(corpus.lines["valid"]):
        corpus.lines["test"][number] = dict(line)
    assert corpus.check().copies == ["test 'test' is a copy of valid"]
    corpus.lines["test"][0]["uid"] = "its own"
    assert corpus.check().copies == []


@pytest.mark.parametrize("facts", [None, [], {}, {"samples": "many"}, 3])
def test_a_damaged_cache_of_audio_is_made_again(corpus: Corpus, facts: Any):
    corpus.check()
    path = corpus.cache.path
    content = json.loads(path.read_text())
    for known in content["files"].values():
        known[2:] = [facts]
    path.write_text(json.dumps(content))
    assert corpus.check().problems == [] and corpus.cache.examined == 20
    path.write_text("[" * 100_000)
    assert corpus.check().problems == [] and corpus.cache.examined == 20


def test_a_problem_is_one_line_whatever_the_name_of_the_file_holds():
    problem = Problem("valid", "valid", 0, "a", Path("valid.jsonl"), 2, "wav/\n\x1b[31m does not exist")
    assert str(problem) == r"valid.jsonl:2: uid 'a' wav/\n\x1b[31m does not exist"
