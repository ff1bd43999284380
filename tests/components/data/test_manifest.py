"""A manifest's audio is read when it is asked for, and what is broken is named by file and line."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from espnet3.components.data.manifest import ManifestDataset
from espnet3.errors import UserError


def test_samples_hold_uid_speech_and_every_other_key(train_manifest):
    dataset = ManifestDataset(train_manifest, sample_rate=8000)
    assert len(dataset) == 23
    sample = dataset[4]
    assert sample.keys() == {"uid", "speech", "tokens", "text"}
    assert (sample["uid"], sample["text"]) == ("spk1-004", "utterance 4")
    audio, _ = soundfile.read(train_manifest.parent / "wav/spk1-004.wav", dtype="float32")
    assert sample["speech"].dtype == np.float32
    np.testing.assert_array_equal(sample["speech"], audio)
    assert dataset.uids()[4] == "spk1-004"


def test_files_are_the_manifest_and_its_audio(train_manifest):
    files = ManifestDataset(train_manifest).files()
    assert files[0] == train_manifest
    assert set(files[1:]) == set((train_manifest.parent / "wav").iterdir())


def test_channels_are_averaged(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.stack([np.full(50, 0.5), np.zeros(50)], axis=1), 8000)
    manifest(tmp_path, {"uid": "a", "audio": "a.wav"})
    np.testing.assert_allclose(ManifestDataset(tmp_path / "m.jsonl")[0]["speech"], np.full(50, 0.25))


def test_audio_is_looked_at_only_when_it_is_indexed(tmp_path):
    manifest(tmp_path, {"uid": "a", "audio": "gone.wav"})
    dataset = ManifestDataset(tmp_path / "m.jsonl")
    with pytest.raises(UserError, match=r"gone\.wav does not exist, but .*m\.jsonl lists it"):
        dataset[0]


def test_audio_of_another_rate_or_format_is_named(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(50), 16000)
    (tmp_path / "b.wav").write_text("no audio")
    manifest(tmp_path, {"uid": "a", "audio": "a.wav"}, {"uid": "b", "audio": "b.wav"})
    dataset = ManifestDataset(tmp_path / "m.jsonl", sample_rate=8000)
    with pytest.raises(UserError, match=r"a\.wav has 16000 Hz, but sample_rate is 8000"):
        dataset[0]
    with pytest.raises(UserError, match=r"b\.wav cannot be read as audio"):
        dataset[1]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"uid": "b", "audio": ', r"m\.jsonl:3: not a line of JSON"),
        ("[1]", r"m\.jsonl:3: a list, not an object"),
        ('{"uid": "b" "audio": 1}', r"m\.jsonl:3: not a line of JSON: Expecting ',' delimiter at column 13$"),
        ("[" * 100_000, r"m\.jsonl:3: not a line of JSON: nested too deeply$"),
        ('{"uid": "\\ud800", "audio": "b.wav"}', r"m\.jsonl:3: 'uid' must be a string, given: "),
        ('{"audio": "b.wav"}', r"m\.jsonl:3: has no 'uid'"),
        ('{"uid": "b", "audio": 3}', r"m\.jsonl:3: 'audio' must be a string, given: 3"),
        ('{"uid": "a", "audio": "b.wav"}', r"m\.jsonl:3: uid 'a' is already used in line 1"),
        ('{"uid": "b", "audio": "b.wav", "speech": 1}', r"m\.jsonl:3: the key 'speech' is reserved"),
    ],
)
def test_a_broken_line_is_named(tmp_path, line, message):
    (tmp_path / "m.jsonl").write_text(f'{{"uid": "a", "audio": "a.wav"}}\n\n{line}\n')
    with pytest.raises(UserError, match=message):
        ManifestDataset(tmp_path / "m.jsonl")


def test_a_manifest_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match=r"no manifest at .*m\.jsonl \(stage 0"):
        ManifestDataset(tmp_path / "m.jsonl")


def manifest(folder: Path, *entries: dict) -> None:
    (folder / "m.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))


LINE = '{"uid": "é", "audio": "a.wav"}'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            gzip.compress(LINE.encode(), mtime=0),
            r"m\.jsonl is compressed \(gzip\); a manifest is text in UTF-8",
        ),
        (LINE.encode("utf-16"), r"m\.jsonl is in UTF-16; a manifest is text in UTF-8"),
        (b"\n" + LINE.encode("latin-1"), r"m\.jsonl:2: not UTF-8: byte 0xe9 at column 10$"),
    ],
)
def test_what_is_no_text_in_utf_8_is_named(tmp_path, content, message):
    (tmp_path / "m.jsonl").write_bytes(content)
    with pytest.raises(UserError, match=message):
        ManifestDataset(tmp_path / "m.jsonl")


def test_a_byte_order_mark_and_line_ends_of_windows_do_not_matter(tmp_path):
    (tmp_path / "m.jsonl").write_bytes(f"{LINE}\r\n".encode("utf-8-sig"))
    assert ManifestDataset(tmp_path / "m.jsonl").uids() == ["é"]
