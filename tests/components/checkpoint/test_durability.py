"""After a power cut there is a checkpoint: what is needed is on the disk before anything goes."""

import itertools
import os
from pathlib import Path

import pytest

import resume_ends
import resume_runs
from espnet3.components.checkpoint.background import background_io
from espnet3.components.checkpoint.background.writer_process import serve


class WriterHere:
    """In place of the process that writes: the same, in this one."""

    def __init__(self, descriptor):
        self.descriptor = descriptor

    def send(self, request):
        self.reply = serve(request, self.descriptor)

    def has_replied(self):
        return False

    def receive(self):
        return self.reply

    def end(self):
        pass


@pytest.fixture
def events(monkeypatch):
    """What is flushed, renamed and removed, in order, by file name; the real calls are made."""
    seen = []
    monkeypatch.setattr(background_io, "WriterHandle", WriterHere)

    def spied(what, real, name_of):
        def call(*args, **kwargs):
            seen.append((what, name_of(args[0])))
            return real(*args, **kwargs)

        return call

    for what in ("fsync", "replace", "unlink"):
        name_of = _name_of_open if what == "fsync" else (lambda path: Path(path).name)
        monkeypatch.setattr(os, what, spied(what, getattr(os, what), name_of))
    return seen


def _name_of_open(descriptor):
    return Path(f"/proc/self/fd/{descriptor}").readlink().name


def test_rows_then_the_checkpoint_then_its_name_are_on_the_disk_before_an_older_one_goes(
    corpus, tmp_path, events
):
    home = tmp_path / "run"
    resume_runs.train("plateau", corpus, home, every_n_batches=1)
    writes = [n for n, (what, name) in enumerate(events) if what == "replace" and name.startswith(".epoch=")]
    assert len(writes) >= 18
    for before, write in itertools.pairwise(writes):  # before the first there is no row
        flushed = [name for what, name in events[before + 2 : write] if what == "fsync"]
        assert "metrics.csv" in flushed and flushed[-1] == events[write][1]
        assert events[write + 1] == ("fsync", "checkpoints")
    removed = {name for what, name in events if what == "unlink" and name.endswith(".ckpt")}
    assert len(removed) == len(writes) - len(resume_ends.checkpoints_of(home))
