"""The script for a GPU: without one it says so; what can be run on the CPU is rehearsed here."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def gpu_check(*arguments):
    binaries = Path(sys.executable).parent
    environment = {
        **os.environ,
        "VIRTUAL_ENV": str(binaries.parent),
        "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",  # also where there is a GPU
    }
    command = [ROOT / "tools/gpu_check.sh", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_without_a_gpu_it_says_so_in_one_line_and_every_check_is_rehearsed():
    done = gpu_check()
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "gpu_check.sh: PyTorch sees no GPU here: nothing was checked\n"
    rehearsed = gpu_check("--rehearse")
    assert rehearsed.returncode == 0, rehearsed.stdout + rehearsed.stderr[-4000:]
    assert rehearsed.stdout.splitlines()[-1] == "all went well"
    unknown = gpu_check("orcale")
    assert unknown.returncode == 2 and "there is no check orcale" in unknown.stderr
