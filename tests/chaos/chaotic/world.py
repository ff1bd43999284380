"""A cluster and a training on it: what faults reach for, and what they wait for."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
IN_THE_RUN = Path(__file__).with_name("in_the_run")
NODES, TASKS = 2, 2
BATCHES = 120
DISK_MB = 64
ENDS_WITHIN_S = 420.0
TAG = "CHAOS_RUN"
"""The variable by which every process of a run is known, on whatever node."""


class ChaosError(Exception):
    """What the run, or its cluster, did wrong: one line."""


@dataclass(frozen=True)
class Rank:
    """A rank of the newest attempt."""

    pid: int
    node: str


class Cluster:
    """A cluster of tools/slurm in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("SLURM", "SBATCH"))}
        self.environment = {
            **kept,
            "ESPNET3_SLURM_DIR": str(folder),
            "ESPNET3_SITE": os.devnull,
            "SLURM_CONF": str(folder / "etc" / "slurm.conf"),
            "PYTHONPATH": f"{IN_THE_RUN}{os.pathsep}{ROOT}",
            "OMP_NUM_THREADS": "1",
        }

    def tool(self, *arguments: str) -> str:
        """Run tools/slurm/cluster, which must succeed."""
        return self.run(str(ROOT / "tools" / "slurm" / "cluster"), *arguments)

    def run(self, *command: str) -> str:
        """What a command prints; ChaosError if it fails."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ChaosError(f"{' '.join(command)} failed: {(done.stdout + done.stderr).strip()}")
        return done.stdout.strip()

    def asked(self, *command: str) -> str:
        """What a command prints, or nothing where Slurm can't be asked."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        return "" if done.returncode else done.stdout.strip()

    def daemon(self, name: str) -> int:
        """Pid of a daemon; a node's slurmd has the node's name."""
        shown = subprocess.run(
            [ROOT / "tools" / "slurm" / "cluster", "status"],
            env=self.environment, capture_output=True, text=True, check=False,
        ).stdout  # fmt: skip
        rows = [line.split() for line in shown.splitlines()]
        found = [int(row[2]) for row in rows if row[0] == name and row[1] == "pid"]
        if not found:
            raise ChaosError(f"{name} does not run")
        return found[0]

    def heal(self) -> None:
        """Every daemon and every node is up again, and no job is left."""
        self.tool("up")
        self.asked("scancel", "--user", str(os.geteuid()))
        wait(lambda: not self.run("squeue", "--noheader"), "all jobs to end")


class World:
    """One training on the cluster, on a small disk of its own."""

    def __init__(self, cluster: Cluster, recipe: Path, disk: Path, name: str) -> None:
        self.cluster, self.recipe, self.disk, self.name = cluster, recipe, disk, name
        self.exp = disk / "run"
        self.marks = recipe / f"marks-{name}"
        self.command: subprocess.Popen[str] | None = None
        self.outputs: list[str] = []

    def start(self, *overrides: str, fsync_s: float = 0.0) -> None:
        """Start the command, as a user does who waits for its end."""
        log = self.recipe / f"output-{self.name}-{len(self.outputs)}"
        self.outputs.append(str(log))
        with log.open("w") as output:
            self.command = subprocess.Popen(
                [
                    *(sys.executable, "-m", "espnet3", "run", "--recipe", str(self.recipe)),
                    *("--stage", "2", "--stop-stage", "2", "launcher=slurm", f"exp_dir={self.exp}"),
                    *(f"tag={self.name}", "trainer.accelerator=cpu", "logger.tensorboard=null"),
                    *("dataloader.train.batch_size=4", "trainer.max_epochs=1000"),
                    *(f"trainer.max_steps={BATCHES}", "checkpoint.every_n_batches=4"),
                    "resources.train.max_restarts=100",
                    *(f"resources.train.nodes={NODES}", f"resources.train.tasks_per_node={TASKS}"),
                    f"+callbacks.paced={{_target_: paced.Paced, file: {self.marks}}}",
                    *overrides,
                ],
                env={**self.cluster.environment, TAG: self.name, "CHAOS_FSYNC_S": str(fsync_s)},
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, text=True,
            )  # fmt: skip

    @property
    def code(self) -> int | None:
        """Exit code of the command; None while it runs."""
        assert self.command is not None
        return self.command.poll()

    def last_lines(self) -> str:
        """What the command has said last."""
        lines = Path(self.outputs[-1]).read_text(errors="replace").splitlines()
        return " / ".join(line.strip() for line in lines[-3:])

    def told(self) -> list[str]:
        """What the command has said, with the end of the jobs' logs."""
        logs = sorted(self.exp.glob("logs/train/job-*.log"))
        return [
            *(line for path in self.outputs for line in Path(path).read_text(errors="replace").splitlines()),
            *(line for path in logs for line in path.read_text(errors="replace").splitlines()[-30:]),
        ]

    def attempts(self) -> int:
        """How many attempts the training took."""
        return len(list(self.exp.glob("attempts/train-*")))

    def end(self) -> None:
        """Nothing of the run goes on, whatever has happened."""
        if self.command is not None and self.code is None:
            self.command.kill()
            self.command.wait()

    def progress(self) -> int:
        """Batches that were trained, those done again included."""
        return len(self.marks.read_text().splitlines()) if self.marks.exists() else 0

    def trains_on(self, batches: int) -> bool:
        """Wait for more batches; False if the command ends before."""
        goal = self.progress() + batches
        wait(lambda: self.progress() >= goal or self.code is not None, f"{batches} more batches", self)
        return self.progress() >= goal

    def job(self) -> str:
        """Slurm's id of the newest job."""
        newest = max(self.exp.glob("jobs/train-*/submission.json"), key=number)
        return str(json.loads(newest.read_text())["job_id"])

    def ranks(self) -> list[Rank]:
        """The ranks of the newest attempt, when all have begun."""
        found: list[Rank] = []

        def begun() -> bool:
            found.clear()
            attempt = max(self.exp.glob("attempts/train-*"), key=number, default=None)
            if attempt is None:
                return False
            for rank in range(NODES * TASKS):
                try:
                    state = json.loads((attempt / f"rank-{rank}.json").read_text())
                except (OSError, ValueError):
                    return False
                found.append(Rank(state["process"]["pid"], state["node"]))
            return True

        wait(begun, "all ranks to begin", self)
        return list(found)

    def processes(self) -> dict[int, str]:
        """Command line of each process of this run, except the command that waits for it."""
        mine = f"{TAG}={self.name}"
        found = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                if mine in os.fsdecode((entry / "environ").read_bytes()).split("\0"):
                    line = os.fsdecode((entry / "cmdline").read_bytes()).replace("\0", " ").strip()
                    state = (entry / "stat").read_text().rsplit(")", 1)[1].split()[0]
                    if state != "Z" and (self.command is None or int(entry.name) != self.command.pid):
                        found[int(entry.name)] = line
            except OSError:
                continue
        return found


def number(path: Path) -> int:
    """The number of `train-12` in a path."""
    part = next(part for part in reversed(path.parts) if part.startswith("train-"))
    return int(part.rpartition("-")[2])


def wait(condition: Callable[[], bool], what: str, world: World | None = None) -> None:
    """Wait for a condition; ChaosError when it does not come, or with a world when its command ends."""
    deadline = time.monotonic() + ENDS_WITHIN_S
    while not condition():
        if world is not None and world.code is not None and not condition():
            raise ChaosError(f"the command ended with code {world.code}: {world.last_lines()}")
        if time.monotonic() > deadline:
            raise ChaosError(f"waited {ENDS_WITHIN_S:.0f} s for {what}")
        time.sleep(0.1)


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of its own, that a fault can fill; needs root."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)
        folder.rmdir()


def recipe_in(folder: Path, cluster: Cluster) -> Path:
    """A copy of egs/TEMPLATE with its corpus and statistics."""
    recipe = folder / "recipe"
    ignored = shutil.ignore_patterns("exp", "data", "__pycache__")
    shutil.copytree(ROOT / "egs" / "TEMPLATE", recipe, ignore=ignored)
    shutil.copy(IN_THE_RUN / "paced.py", recipe)
    command = (sys.executable, "-m", "espnet3", "run", "--recipe", str(recipe))
    cluster.run(*command, "--stop-stage", "1", "launcher=local")
    return recipe
