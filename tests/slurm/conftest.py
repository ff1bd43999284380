"""A real Slurm cluster for each worker of pytest: started at first use, ended with the worker."""

import fcntl
import os
import shutil
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from disturbed_recipe import Recipe, Until, make_recipe
from made_once import made_once

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / "tools" / "slurm"
sys.path.insert(0, str(TOOLS))
FAILING = """
import os
import signal
import time
from pathlib import Path
from lightning.pytorch import Callback

class Fails(Callback):
    def __init__(self, what):
        self.what = what

    def on_train_batch_start(self, trainer, *_):
        folder = Path(__file__).parent
        (folder / f"begun-{self.what}").touch()
        while (folder / f"wait-{self.what}").exists() and not trainer.should_stop:
            time.sleep(0.1)
            if trainer.lightning_module.stop_requested():
                break
        bad = folder / f"bad-{self.what}"
        if not bad.exists() or os.environ.get("RANK", "1") != "1":
            return
        deed = bad.read_text()
        if deed == "raise":
            raise ValueError("these learning rates do not go together")
        if deed == "once":
            bad.unlink()
        os.kill(os.getppid() if deed == "once" else os.getpid(), signal.SIGKILL)
"""
"""A callback of trials that begin, wait and end badly as files beside it say; of several ranks the second."""


class Slurm:
    """The cluster in one folder: its own command, and Slurm's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def environment(self) -> dict[str, str]:
        """For commands, and so for jobs: with this cluster, and as the test has it."""
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("SLURM_", "SBATCH_"))}
        return {
            **clean,
            "ESPNET3_SLURM_DIR": str(self.folder),
            "SLURM_CONF": str(self.folder / "etc" / "slurm.conf"),
            "PYTHONPATH": f"{ROOT / 'tests' / 'forkserver'}{os.pathsep}{ROOT}",
        }

    def tool(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run tools/slurm/cluster."""
        return subprocess.run(
            [str(TOOLS / "cluster"), *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=1200,  # as apt-get may take
            check=False,
        )

    def up(self, *arguments: str) -> None:
        """Start the cluster, which must succeed."""
        done = self.tool("up", *arguments)
        assert done.returncode == 0, done.stderr

    def pids(self) -> dict[str, int]:
        """Pid of each daemon that runs."""
        rows = [line.split() for line in self.tool("status").stdout.splitlines()]
        return {row[0]: int(row[2]) for row in rows if row[1] == "pid"}

    def __call__(self, *command: str) -> str:
        """What one of Slurm's commands prints; it must succeed."""
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def submit(self, script: str, *options: str) -> str:
        """Submit a shell script; the job's id."""
        return self("sbatch", "--parsable", *options, "--wrap", script)

    def requeue(self, job: str, until: Callable[[Callable[[], object], str], None]) -> None:
        """Requeue a running job and wait until it is over; Slurm starts it again ten seconds later.

        A start sooner than that (StartTime=now) may meet the end of the credential of the first: "Killing
        non-startable batch job", says slurmctld then.
        """
        self("scontrol", "requeue", job)
        until(lambda: self("squeue", "-h", "-r", "-o", "%T", "-j", job) == "PENDING", f"{job} to be requeued")

    def accounted(self, job: str) -> list[str]:
        """What sacct says of each run of a job, oldest first."""
        rows = self(
            "sacct", "--duplicates", "--allocations", "--noheader", "--parsable2", "-o", "State", "-j", job
        )
        return rows.splitlines()


@pytest.fixture(scope="session")
def workers_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    """The cluster of this worker of pytest, up or not. Tests use `cluster`."""
    base = tmp_path_factory.getbasetemp()
    slurm = Slurm(Path(f"/tmp/espnet3-slurm-test-{zlib.crc32(os.fsencode(base)):08x}"))  # short: for sockets
    try:
        # One after the other: two that look for free ports at the same time find the same ones, and two that
        # install packages hinder each other.
        with (base.parent / "set-up.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            done = slurm.tool("install")
            if done.returncode == 2:
                pytest.skip(done.stderr.strip())
            slurm.up()
        yield slurm
    finally:
        slurm.tool("down")


@pytest.fixture
def cluster(workers_cluster: Slurm, until: Callable[[Callable[[], object], str], None]) -> Slurm:
    """The cluster with every node up and no jobs."""
    # What the test before left, or broke, ends here and not there: it may have failed in the midst.
    workers_cluster.up()
    workers_cluster("scancel", "--user", str(os.geteuid()))
    until(lambda: not workers_cluster("squeue", "--noheader"), "all jobs to end")
    return workers_cluster


@pytest.fixture
def start_on_slurm(cluster: Slurm, start_verb) -> Callable[..., Any]:
    """Start `espnet3 VERB` where Slurm is the test's own."""
    return lambda *words, **environment: start_verb(*words, **{**cluster.environment, **environment})


class Sweeps:
    """A copy of the smallest recipe, whose trials fail and wait as files say, and its commands."""

    def __init__(self, cluster: Slurm, directory: Path, start: Callable[..., Any]) -> None:
        self.cluster, self.directory, self.start = cluster, directory, start
        (directory / "failing.py").write_text(FAILING)

    def run(self, *words: str | Path) -> tuple[int, str]:
        """Exit code and output of a command that ends by itself."""
        return self.start(*words).finish()

    def sweep(self, tag: str = "default") -> Path:
        return self.directory / "exp" / "sweeps" / tag

    def elements(self) -> list[tuple[str, str]]:
        """Id and comment of every element in the queue."""
        lines = self.cluster("squeue", "--noheader", "--array", "--format=%i|%k").splitlines()
        return [(line.split("|")[0], line.split("|")[1]) for line in lines]


@pytest.fixture
def sweeps(cluster: Slurm, template: Path, start_on_slurm) -> Sweeps:
    """The recipe on the cluster."""
    return Sweeps(cluster, template, start_on_slurm)


@pytest.fixture(scope="session")
def prepared(shared_by_workers: Path) -> Path:
    """A recipe to be disturbed, with its corpus and statistics."""
    copy = shared_by_workers / "faults" / "egs" / "mini_digits"
    with made_once(copy.parents[1] / "prepared") as missing:
        if missing:
            make_recipe(copy)
    return copy / "asr"


@pytest.fixture
def recipe(cluster, prepared: Path, start_on_slurm, until: Until) -> Recipe:
    """The recipe on the cluster, with an undisturbed run to compare with."""
    recipe = Recipe(cluster, prepared, start_on_slurm, until)
    with made_once(prepared.parents[2] / "undisturbed") as missing:
        if missing:
            shutil.rmtree(recipe.exp("undisturbed"), ignore_errors=True)
            code, output = recipe.train("undisturbed").finish()
            assert code == 0, output
    return recipe
