import os
import signal
import subprocess
import sys

import pytest
import torch

from espnet3.components.checkpoint.atomic_io import AtomicCheckpointIO
from espnet3.errors import UserError


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "new" / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"weights": torch.ones(3)}, path)
    assert torch.equal(AtomicCheckpointIO().load_checkpoint(path)["weights"], torch.ones(3))
    assert [file.name for file in path.parent.iterdir()] == ["last.ckpt"]


class Unwritable:
    def __reduce__(self):
        raise OSError("no space left")


def test_a_failing_write_leaves_the_earlier_checkpoint_and_nothing_else(tmp_path):
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"epoch": 1}, path)
    with pytest.raises(UserError, match="no space left"):
        AtomicCheckpointIO().save_checkpoint({"weights": torch.ones(10_000), "x": Unwritable()}, path)
    assert AtomicCheckpointIO().load_checkpoint(path) == {"epoch": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]


KILLED = """
import os, signal, sys, torch
from espnet3.components.checkpoint.atomic_io import AtomicCheckpointIO
class Deadly:
    def __reduce__(self):
        os.kill(os.getpid(), signal.SIGKILL)
AtomicCheckpointIO().save_checkpoint({"weights": torch.ones(100_000), "x": Deadly()}, sys.argv[1])
"""


@pytest.mark.slow
def test_a_kill_in_the_middle_of_a_write_leaves_the_earlier_checkpoint(tmp_path):
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"epoch": 1}, path)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(path)], env=environment, timeout=120, check=False
    )
    assert done.returncode == -signal.SIGKILL
    assert AtomicCheckpointIO().load_checkpoint(path) == {"epoch": 1}


class Code:
    def __reduce__(self):
        return (print, ("run",))


def test_a_checkpoint_is_data_and_never_code(tmp_path, capsys):
    path = tmp_path / "last.ckpt"
    torch.save({"x": Code()}, path)
    with pytest.raises(Exception, match=r"[Ww]eights"):
        AtomicCheckpointIO().load_checkpoint(path, weights_only=False)
    assert capsys.readouterr().out == ""
