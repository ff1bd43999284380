"""Training waits for a copy of its state in memory, and never for a disk; no end of a writer goes unsaid."""

import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch

import resume_ends
import resume_runs
from espnet3.components.checkpoint import atomic_io
from espnet3.components.checkpoint.background import background_io
from espnet3.components.checkpoint.background.background_io import BackgroundCheckpointIO
from espnet3.components.checkpoint.background.completion import Completion
from espnet3.components.checkpoint.ranking import Ranked, Ranking, read_ranking
from espnet3.components.checkpoint.reading import read_checkpoint
from espnet3.errors import UserError

FIRST, SECOND = "epoch=1-step=1.ckpt", "epoch=2-step=2.ckpt"


def state(number):
    """Tensors of all kinds, with shared storage, and plain data."""
    weights = torch.arange(100_000.0) + number
    return {
        "state_dict": {"w": weights, "view": weights[5:9], "empty": torch.empty(0), "half": weights.half()},
        "plain": {"epoch": number, "names": ["a"] * 9, "none": None},
    }


def same(one, other):
    return not resume_ends.differences(one, other)


def completion(file=None, keep_last=2):
    best = () if file is None else (Ranked(file, 1.0, 1),)
    return Completion(Ranking("valid/loss", "min", best), file is not None, keep_last)


@pytest.fixture
def saving():
    """The IO, torn down in the end."""
    io = BackgroundCheckpointIO()
    yield io
    io.teardown()


@pytest.fixture
def stopped(saving, tmp_path):
    """The IO, one checkpoint written and a second sent to a writer that does nothing; and its pid."""
    saving.save_checkpoint(state(1), tmp_path / FIRST, completion(FIRST))
    saving.wait()
    pid = saving._writer._process.pid
    os.kill(pid, signal.SIGSTOP)
    saving.save_checkpoint(state(2), tmp_path / SECOND, completion(SECOND))
    return saving, pid


def test_a_file_is_what_torch_writes_with_its_checksums(saving, tmp_path):
    for number in (1, 2, 3):  # over an earlier copy, also of another size
        content = state(number) | {"more": torch.ones(number * 7)}
        saving.save_checkpoint(content, tmp_path / FIRST, completion())
        saving.wait()
        assert same(torch.load(tmp_path / FIRST, weights_only=True), content)
        assert same(read_checkpoint(tmp_path / FIRST), content)
        torch.save(content, tmp_path / "archive")
        with zipfile.ZipFile(tmp_path / FIRST) as ours, zipfile.ZipFile(tmp_path / "archive") as torchs:
            assert ours.testzip() is None
            parts = [
                [
                    (part.filename, part.CRC)
                    for part in archive.infolist()
                    if "serialization_id" not in part.filename
                ]
                for archive in (ours, torchs)
            ]
        assert parts[0] == parts[1]


def test_training_goes_on_while_it_is_written_and_the_earlier_one_stays(stopped, tmp_path):
    saving, pid = stopped
    saving.check()  # nothing to say yet
    assert same(read_checkpoint(tmp_path / "last.ckpt"), state(1))
    assert read_ranking(tmp_path).files() == {FIRST}
    assert not (tmp_path / SECOND).exists()
    os.kill(pid, signal.SIGCONT)
    saving.save_checkpoint(state(3), tmp_path / "epoch=3-step=3.ckpt", completion(SECOND, keep_last=1))
    assert same(read_checkpoint(tmp_path / SECOND), state(2)), "the next waits for it"
    saving.wait()
    assert read_ranking(tmp_path).files() == {SECOND}
    assert same(read_checkpoint(tmp_path / "last.ckpt"), state(3))
    assert not (tmp_path / FIRST).exists(), "neither new nor among the best"


def test_requests_to_stop_leave_the_writer_alone(stopped, tmp_path):
    saving, pid = stopped
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        os.kill(pid, number)
    os.kill(pid, signal.SIGCONT)
    saving.wait()
    assert same(read_checkpoint(tmp_path / SECOND), state(2))
    assert saving._writer._process.poll() is None


def test_what_a_killed_writer_has_not_written_is_written_by_another(stopped, tmp_path, caplog):
    saving, pid = stopped
    os.kill(pid, signal.SIGKILL)
    saving.wait()
    assert same(read_checkpoint(tmp_path / SECOND), state(2))
    (line,) = (record.getMessage() for record in caplog.records)
    assert f"{SECOND} is written again: the process that writes checkpoints was killed by SIGKILL" in line


def test_a_writer_that_is_killed_again_is_an_error_of_that_checkpoint(stopped, tmp_path, monkeypatch):
    saving, pid = stopped
    os.kill(pid, signal.SIGKILL)
    start = background_io.WriterHandle

    def start_and_kill(descriptor):
        handle = start(descriptor)
        handle._process.kill()
        return handle

    monkeypatch.setattr(background_io, "WriterHandle", start_and_kill)
    with pytest.raises(UserError, match=rf"{SECOND} was not written: the process .* killed by SIGKILL; free"):
        saving.wait()
    assert same(read_checkpoint(tmp_path / "last.ckpt"), state(1))
    assert read_ranking(tmp_path).files() == {FIRST}


@pytest.mark.parametrize("limit", ["RLIMIT_FSIZE", "RLIMIT_NOFILE"])
def test_an_error_of_the_disk_is_raised_by_the_next_batch(saving, tmp_path, until, limit):
    """The writer alone is limited: to the training the disk seems to have room."""
    import resource

    saving.save_checkpoint(state(1), tmp_path / FIRST, completion(FIRST))
    saving.wait()
    lowest = 20_000 if limit == "RLIMIT_FSIZE" else 3
    resource.prlimit(saving._writer._process.pid, getattr(resource, limit), (lowest, lowest))
    saving.save_checkpoint(state(2), tmp_path / SECOND, completion(SECOND))
    until(saving._writer.has_replied, "a reply")
    with pytest.raises(UserError, match=rf"{SECOND} was not written: (File too large|Too many open files); "):
        saving.check()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.json", FIRST, "last.ckpt"]
    assert same(read_checkpoint(tmp_path / "last.ckpt"), state(1))


def test_where_memory_is_short_training_waits_for_the_write(saving, tmp_path, monkeypatch, caplog):
    def no_memory(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", no_memory)
    saving.save_checkpoint(state(1), tmp_path / FIRST, completion(FIRST))
    assert same(read_checkpoint(tmp_path / "last.ckpt"), state(1))
    assert read_ranking(tmp_path).files() == {FIRST}
    assert "training waits for checkpoints: no memory for a copy" in caplog.text


ORPHANING = """
import os, signal, sys
from pathlib import Path
sys.path[:0] = sys.argv[2:]
import test_background as test
saving = test.BackgroundCheckpointIO()
folder = Path(sys.argv[1])
saving.save_checkpoint(test.state(1), folder / test.FIRST, test.completion(test.FIRST))
saving.wait()
pid = saving._writer._process.pid
os.kill(pid, signal.SIGSTOP)
saving.save_checkpoint(test.state(2), folder / test.SECOND, test.completion(test.SECOND))
print(pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_writer_dies_with_its_training(tmp_path, until):
    places = [str(Path(__file__).parent), str(Path(resume_runs.__file__).parent)]
    done = subprocess.run(
        [sys.executable, "-c", ORPHANING, str(tmp_path), *places],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    until(lambda: not Path(f"/proc/{done.stdout.strip()}/cmdline").exists(), "the end of the writer")
    assert same(read_checkpoint(tmp_path / "last.ckpt"), state(1))
    assert not (tmp_path / SECOND).exists()


def test_a_checkpoint_is_read_once(corpus, tmp_path, monkeypatch):
    """By its bytes, checksums included, and by the start of a training, which looks for an intact one."""
    torch.save({"w": torch.ones(5_000_000)}, tmp_path / "large")
    before = bytes_read()
    read_checkpoint(tmp_path / "large")
    assert bytes_read() - before < 1.1 * (tmp_path / "large").stat().st_size
    resume_runs.train("plateau", corpus, tmp_path / "run")
    reads, load = [], torch.load
    monkeypatch.setattr(torch, "load", lambda *args, **options: reads.append(args) or load(*args, **options))
    monkeypatch.setattr(atomic_io.torch, "load", torch.load)
    resume_runs.train("plateau", corpus, tmp_path / "run")
    assert len(reads) == 1


def bytes_read():
    return int(Path("/proc/self/io").read_text().split()[1])
