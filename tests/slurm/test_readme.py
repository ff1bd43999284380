"""The README's commands for Slurm, run as they stand, in a copy of the tree, on a real cluster."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from forked_ranks import forked_ranks

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
Until = Callable[[Callable[[], object], str], None]


def commands() -> list[str]:
    """The lines of its `bash` blocks, without comments; `sh` blocks need no cluster."""
    blocks = re.findall(r"```bash\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    lines = [line.split("#")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line]


@pytest.fixture
def environment(cluster, clone: Path) -> Iterator[dict[str, str]]:
    """Of commands: with the cluster, and with the code of the clone, of which ranks are forked."""
    bin_directory = Path(sys.executable).parent
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(clone))
        with forked_ranks(clone) as of_ranks:
            yield {
                **cluster.environment,
                "VIRTUAL_ENV": str(bin_directory.parent),
                "PATH": f"{bin_directory}{os.pathsep}{os.environ['PATH']}",
                **of_ranks,
            }


def test_the_commands_of_the_readme_work_on_a_cluster(
    cluster, clone: Path, environment: dict[str, str], until: Until
):
    printed: dict[str, str] = {}
    lines = commands()
    assert len(lines) == 10
    for line in lines:
        if line.startswith("espnet3 logs -f"):
            line = line.replace(" -f ", " ")  # it would follow for as long as the run goes on
        done = subprocess.run(
            ["bash", "-c", line], cwd=clone, env=environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=1200, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{line}\n{done.stdout}"
        printed[line] = done.stdout
        if "--detach" in line and "run.sh" in line:
            exp = clone / "egs" / "mini_digits" / "asr" / "exp" / "later"
            until(lambda exp=exp: list(exp.glob("checkpoints/*.ckpt")), "the detached training")
        if line.startswith("espnet3 cancel"):
            until(lambda: not cluster("squeue", "--noheader"), "the jobs to end")
    cluster("scancel", "--user", str(os.geteuid()))  # the run that was resumed
    first, script, _, status, *_ = printed.values()
    assert "ranks: 4 on 2 nodes" in first and "test/token_error_rate = " in first
    assert "#SBATCH --job-name=asr.default.2-train" in script
    assert "later" in status and "running" in status
    exp = clone / "egs/mini_digits/asr/exp"
    assert (exp / "inside/validate/metrics.json").exists()
    assert len(list(exp.glob("sweeps/hydra/trials/seed-*/validate/metrics.json"))) == 2
