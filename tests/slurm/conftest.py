"""A real Slurm cluster for the tests: started at first use, shared by pytest's workers, ended by the last."""

import fcntl
import os
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[2] / "tools" / "slurm"
sys.path.insert(0, str(TOOLS))


class Slurm:
    """The cluster in one folder: its own command, and Slurm's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("SLURM_", "SBATCH_"))}
        self.environment = {
            **clean,
            "ESPNET3_SLURM_DIR": str(folder),
            "SLURM_CONF": str(folder / "etc" / "slurm.conf"),
        }

    def tool(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run tools/slurm/cluster."""
        return subprocess.run(
            [str(TOOLS / "cluster"), *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=300,
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

    def accounted(self, job: str) -> list[str]:
        """What sacct says of each run of a job, oldest first."""
        rows = self(
            "sacct", "--duplicates", "--allocations", "--noheader", "--parsable2", "-o", "State", "-j", job
        )
        return rows.splitlines()


@contextmanager
def held(path: Path, how: int) -> Iterator[int]:
    """A lock on a file, shared or exclusive."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, how)
        yield descriptor
    finally:
        os.close(descriptor)


@pytest.fixture(scope="session")
def session_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all workers of this test run share."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def shared_cluster(session_folder: Path) -> Iterator[Slurm]:
    """The cluster of this test run, up or not. Tests use `cluster`, which takes turns."""
    # Unix sockets need a short path.
    slurm = Slurm(Path(f"/tmp/espnet3-slurm-test-{zlib.crc32(os.fsencode(session_folder)):08x}"))
    with held(session_folder / "slurm-users.lock", fcntl.LOCK_SH) as users:
        with held(session_folder / "slurm-install.lock", fcntl.LOCK_EX):
            done = slurm.tool("install")
        if done.returncode == 2:
            pytest.skip(done.stderr.strip())
        try:
            # Not started here: another worker's test, whose turn it is, may have ended a node on purpose.
            yield slurm
        finally:
            try:
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                # another worker is still at it
                pass
            else:
                slurm.tool("down")


@pytest.fixture
def cluster(
    shared_cluster: Slurm, session_folder: Path, until: Callable[[Callable[[], object], str], None]
) -> Iterator[Slurm]:
    """The cluster with every node up and no jobs, for one test at a time."""
    with held(session_folder / "slurm-turn.lock", fcntl.LOCK_EX):
        # What the test before left, or broke, ends here and not there: it may have failed in the midst.
        shared_cluster.up()
        shared_cluster("scancel", "--user", str(os.geteuid()))
        until(lambda: not shared_cluster("squeue", "--noheader"), "all jobs to end")
        yield shared_cluster
