"""A disk that is full costs a training nothing but the time until there is room again."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import resume_runs
from espnet3.errors import UserError
from espnet3.rundir.stop import Stopped

pytestmark = pytest.mark.slow

KEPT = ["epoch=0-batch=3-step=3.ckpt", "last.ckpt"]


@pytest.fixture
def begun(corpus):
    """Trains in a directory until the third batch is saved."""

    def begin(home):
        with pytest.raises(Stopped):
            resume_runs.train("plateau", corpus, home, stop_after=3)
        assert files_of(home) == KEPT

    return begin


def files_of(home):
    return sorted(path.name for path in (home / "checkpoints").iterdir())


FULL = """
import resource, sys
from pathlib import Path
import resume_runs
corpus, home = map(Path, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
resume_runs.train("plateau", corpus, home)
"""


def test_a_write_that_fails_is_told_and_leaves_the_earlier_checkpoint(corpus, tmp_path, begun, equal_ends):
    """Where a file may not grow any more, the disk is full for the program."""
    home = tmp_path / "full"
    begun(home)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(resume_runs.__file__).parent)}
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(corpus), str(home)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    last_line = done.stderr.strip().splitlines()[-1]
    assert "UserError" in last_line and "was not written: File too large; free some space" in last_line
    assert files_of(home) == KEPT
    resume_runs.train("plateau", corpus, home)
    resume_runs.train("plateau", corpus, tmp_path / "undisturbed")
    equal_ends(tmp_path / "undisturbed", home)


@pytest.fixture
def small_disk(tmp_path):
    """A real file system of 3 MB, and nobody else on it."""
    path = tmp_path / "disk"
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(path)],
        check=False,
        capture_output=True,
        text=True,
    )
    if mounted.returncode:
        pytest.skip(f"only root can mount a disk: {mounted.stderr.strip()}")
    yield path
    subprocess.run(["umount", str(path)], check=True)


@pytest.mark.parametrize(
    ("left", "told"),
    [
        (500_000, r"epoch=1-step=9\.ckpt was not written: it needs 1\.\d MB, the disk has 0\.[45] MB left"),
        (0, r"No space left on device.*free some space and start again"),
    ],
)
def test_a_disk_without_room_is_told_before_the_checkpoint_is_written(
    corpus, tmp_path, small_disk, begun, equal_ends, left, told
):
    home, filler = small_disk / "run", small_disk / "filler"
    begun(home)
    free = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
    filler.write_bytes(bytes(free - left))
    with pytest.raises(UserError, match=told):
        resume_runs.train("plateau", corpus, home)
    assert files_of(home) == KEPT
    filler.unlink()
    resume_runs.train("plateau", corpus, home)
    resume_runs.train("plateau", corpus, tmp_path / "undisturbed")
    equal_ends(tmp_path / "undisturbed", home)
