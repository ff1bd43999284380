"""The corpus: the same bytes however it is made, finished files kept, speakers apart, noise as asked for."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from espnet3.errors import UserError
from espnet3.rundir.heartbeat import Heartbeat, read_heartbeat
from espnet3.rundir.stop import StopFlag, Stopped
from espnet3.rundir.task import Task

CORPUS = Path(__file__).resolve().parents[3] / "egs" / "mini_digits"


def hashes(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def entries(folder: Path, split: str) -> list[dict]:
    return [json.loads(line) for line in (folder / f"{split}.jsonl").read_text().splitlines()]


def test_a_voice_says_the_same_bytes_whatever_was_said_before():
    from corpus.speech import speak

    # breath and roughness are random, echo and phases are left over: all three differ without the child
    lines = [("one two", "en-us+f3"), ("nine", "en+m1"), ("four zero", "en-gb-scotland+croak")]
    first = [speak(text, voice, speed=150, pitch=50, seed=7)[0] for text, voice in lines]
    again = [speak(text, voice, speed=150, pitch=50, seed=7)[0] for text, voice in reversed(lines)]
    for one, other in zip(first, reversed(again), strict=True):
        assert len(one) > 4000 and np.array_equal(one, other)


def test_a_voice_that_does_not_exist_is_named():
    from corpus.speech import SpeechError, speak

    with pytest.raises(SpeechError, match="nobody"):
        speak("one", "en-us+nobody", speed=150, pitch=50, seed=0)


def test_every_voice_of_every_split_exists():
    from corpus.speech import speak
    from corpus.voices import ACCENTS, SPEAKERS

    speakers = [speaker for split in SPEAKERS for speaker in SPEAKERS[split]]
    for number, speaker in enumerate(speakers):
        assert len(
            speak("one", f"{ACCENTS[number % len(ACCENTS)]}+{speaker}", speed=200, pitch=50, seed=0)[0]
        )


def test_no_speaker_is_in_two_splits():
    from corpus.voices import SPEAKERS

    speakers = [speaker for split in SPEAKERS for speaker in SPEAKERS[split]]
    assert len(speakers) == len(set(speakers))


def test_the_same_bytes_for_any_number_of_workers_and_any_order(make, small_corpus: Path, tmp_path: Path):
    make(tmp_path, utterances={"train": 3, "valid": 4, "test": 1}, workers=1)
    make(tmp_path, workers=3)
    assert hashes(tmp_path) == hashes(small_corpus)


def test_a_manifest_says_what_is_in_its_files(small_corpus: Path):
    from corpus.voices import voices

    seen = set()
    for split, count in (("train", 20), ("valid", 4), ("test", 4)):
        lines = entries(small_corpus, split)
        assert len(lines) == count
        for line in lines:
            info = soundfile.info(small_corpus / line["audio"])
            assert (info.frames, info.samplerate, info.channels) == (line["samples"], 8000, 1)
            assert 0.5 < info.duration < 6
            assert 3 <= len(line["text"].split()) <= 7 and set(line["text"]) <= set("0123456789 ")
            assert line["voice"] in voices(split)
            assert 120 <= line["speed"] <= 210 and 30 <= line["pitch"] <= 70
            seen.add(line["uid"])
    assert len(seen) == 28


def test_noise_is_as_loud_as_the_manifest_says(small_corpus: Path):
    from corpus.utterance import Settings, plan, say

    settings = Settings(0, 8000, (3, 7), (120, 210), (30, 70), (8.0, 30.0))
    for number, line in enumerate(entries(small_corpus, "train")):
        mixed, _ = soundfile.read(small_corpus / line["audio"])
        speech = say(plan(settings, "train", number), 8000)
        # least squares: how much of the mixture is the speech; the rest is noise
        speech = speech * (mixed @ speech) / (speech @ speech)
        measured = 10 * np.log10(np.mean(speech**2) / np.mean((mixed - speech) ** 2))
        assert 8 <= line["snr_db"] <= 30
        assert measured == pytest.approx(line["snr_db"], abs=0.5)


@pytest.mark.parametrize(("kind", "octave_db"), [("white", 0), ("pink", -3), ("babble", -9)])
def test_noise_falls_with_frequency_as_its_kind_does(kind: str, octave_db: float):
    from corpus.noise import make_noise

    noise = make_noise(kind, 160_000, 16000, np.random.default_rng(0))
    power = np.abs(np.fft.rfft(noise)) ** 2
    hertz = np.fft.rfftfreq(len(noise), 1 / 16000)
    bands = [power[(hertz >= low) & (hertz < low * 1.1)].mean() for low in (3000, 6000)]
    assert np.mean(noise**2) == pytest.approx(1)
    assert 10 * np.log10(bands[1] / bands[0]) == pytest.approx(octave_db, abs=0.7)


@pytest.mark.slow
def test_after_a_kill_the_workers_are_gone_and_only_the_rest_is_made(make, tmp_path: Path, until):
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    sizes = {"train": 150, "valid": 1, "test": 1}
    script = (
        f"import sys; sys.path[:0] = [{str(Path(__file__).parent)!r}, {str(CORPUS)!r}]\n"
        "from pathlib import Path\n"
        "from conftest import SETTINGS\n"
        "from corpus.prepare import prepare\n"
        "from espnet3.rundir.task import Task\n"
        "if __name__ == '__main__':\n"
        f"    folder, sizes = Path({str(killed)!r}), {sizes!r}\n"
        "    manifests = {split: str(folder / f'{split}.jsonl') for split in sizes}\n"
        "    settings = {**SETTINGS, 'utterances': sizes}\n"
        "    prepare(manifests=manifests, **settings, task=Task.single('prepare'))\n"
    )
    (tmp_path / "prepare_killed.py").write_text(script)
    process = subprocess.Popen([sys.executable, str(tmp_path / "prepare_killed.py")], start_new_session=True)
    try:
        until(lambda: process.poll() is not None or len(list(killed.rglob("*.wav"))) > 20, "20 utterances")
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        until(lambda: not session_members(process.pid), "the workers to end")
    finally:
        if session_members(process.pid):
            os.killpg(process.pid, signal.SIGKILL)
    finished = {
        path: path.stat().st_mtime_ns for path in killed.rglob("*.wav") if not path.name.startswith(".")
    }
    assert 20 <= len(finished) < 150 and not list(killed.glob("*.jsonl"))
    make(killed, utterances=sizes)
    make(whole, utterances=sizes)
    assert all(path.stat().st_mtime_ns == time for path, time in finished.items())
    assert hashes(killed) == hashes(whole)


def session_members(session: int) -> list[int]:
    """Processes of a session that still run."""
    members = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, sid = stat.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(sid) == session and state not in "ZX":
            members.append(int(stat.parent.name))
    return members


def test_asked_to_stop_it_leaves_no_manifest_and_goes_on_later(make, small_corpus: Path, tmp_path: Path):
    stop = StopFlag()
    stop.set("test")
    with pytest.raises(Stopped, match="of 28 utterances"):
        make(tmp_path, task=Task(stage="prepare", stop=stop))
    assert not list(tmp_path.glob("*.jsonl"))
    make(tmp_path)
    assert hashes(tmp_path) == hashes(small_corpus)


def test_progress_counts_utterances_and_the_result_names_every_file(make, tmp_path: Path):
    heartbeat = Heartbeat(tmp_path / "beat.json", every_s=0)
    result = make(tmp_path, task=Task(stage="prepare", heartbeat=heartbeat))
    beat = read_heartbeat(tmp_path / "beat.json")
    assert beat is not None and (beat["unit"], beat["done"], beat["total"]) == ("utterance", 28, 28)
    assert result.summary.startswith("28 utterances")
    files = [*tmp_path.glob("*.jsonl"), *tmp_path.rglob("*.wav")]
    assert sorted(result.outputs) == sorted(files) and len(files) == 31


def test_other_settings_make_another_corpus_in_its_place(make, tmp_path: Path):
    make(tmp_path)
    before = hashes(tmp_path)
    (tmp_path / "audio" / "mine").mkdir()
    (tmp_path / "audio" / "mine" / "song.wav").touch()
    make(tmp_path, snr_db=[20.0, 25.0])
    after = hashes(tmp_path)
    assert (
        after.pop("audio/mine/song.wav") and not {name for name in after if "audio" in name} & before.keys()
    )
    assert len(after) == len(before)
    assert all(20 <= line["snr_db"] <= 25 for line in entries(tmp_path, "train"))
    make(tmp_path, utterances={"train": 2, "valid": 1, "test": 1}, snr_db=[20.0, 25.0])
    assert len(list(tmp_path.rglob("audio/*/train/*.wav"))) == 2


def test_an_audio_file_that_is_broken_is_made_again(make, small_corpus: Path, tmp_path: Path):
    make(tmp_path)
    next(tmp_path.rglob("train-00003.wav")).write_bytes(b"RIFF")
    make(tmp_path)
    assert hashes(tmp_path) == hashes(small_corpus)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"snr_db": [30, 8]}, r"prepare.snr_db must be \[low, high\]"),
        ({"digits": 5}, "prepare.digits"),
        ({"sample_rate": 16}, "prepare.sample_rate"),
        ({"utterances": {"train": 0, "valid": 1, "test": 1}}, "prepare.utterances.train must be at least 1"),
        ({"utterances": {"dev": 3}}, "must name the same splits"),
        ({"workers": 0}, "prepare.workers"),
    ],
)
def test_values_without_sense_are_named(make, tmp_path: Path, changed: dict, message: str):
    with pytest.raises(UserError, match=message):
        make(tmp_path, **changed)
