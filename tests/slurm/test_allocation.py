"""Stages inside somebody's own allocation (sbatch, salloc, srun): they use it, stop, and say so."""

import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
Until = Callable[[Callable[[], object], str], None]
STAGE_0 = ("--stage", "0", "--stop-stage", "0")
WAITING = (*STAGE_0, "prepare.mode=wait")


class Allocated:
    """A recipe whose run.sh is started inside allocations of the cluster."""

    def __init__(self, cluster, directory: Path) -> None:
        self.cluster, self.directory = cluster, directory
        shutil.copy(ROOT / "egs" / "TEMPLATE" / "run.sh", directory / "run.sh")
        python = Path(sys.executable).parent
        self.environment = {
            **cluster.environment,
            "PATH": f"{python}{os.pathsep}{os.environ['PATH']}",
            "OMP_NUM_THREADS": "1",
            "SHELL": "/bin/sh",  # reads no file that would set another PATH
        }
        self.run_sh, self.output = str(directory / "run.sh"), directory.parent / "out"

    def sbatch(self, options: tuple[str, ...], *arguments: str) -> str:
        """Submit run.sh itself; the job's id."""
        return self.started(
            "sbatch", "--parsable", *options, f"--output={self.output}", self.run_sh, *arguments
        )[1].strip()

    def started(self, *command: str) -> tuple[int, str]:
        """Exit code and output of a command in the cluster's environment."""
        done = subprocess.run(
            command,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )
        return done.returncode, done.stdout

    def attempt(self, stage: str, number: int = 1) -> dict:
        """How an attempt began."""
        folder = self.directory / "exp" / "default" / "attempts" / f"{stage}-{number}"
        return json.loads((folder / "begin.json").read_text())

    def end(self, stage: str) -> dict:
        """How its first attempt ended."""
        folder = self.directory / "exp" / "default" / "attempts" / f"{stage}-1"
        return json.loads((folder / "end.json").read_text())

    def has(self, name: str) -> Callable[[], object]:
        """A condition: stage 0 has left such a file."""
        return lambda: list((self.directory / "data").glob(name))


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, *command: str, environment: dict[str, str]) -> None:
        self.pid, self._end = pty.fork()
        if self.pid == 0:
            os.execvpe(command[0], command, environment)
        self.text = ""

    def type(self, text: str) -> None:
        os.write(self._end, text.encode())

    def shows(self, pattern: str) -> Callable[[], object]:
        """A condition: `pattern` was printed by now."""

        def condition() -> object:
            while select.select([self._end], [], [], 0)[0]:
                try:
                    new = os.read(self._end, 4096)
                except OSError:  # its other end is closed
                    break
                self.text += new.decode(errors="replace")
            return re.search(pattern, self.text)

        return condition

    def finish(self, until: Until) -> int:
        """The command's exit code."""
        ended: list[int] = []

        def condition() -> object:
            self.shows("")()
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.pid = 0
                ended.append(os.waitstatus_to_exitcode(status))
            return ended

        until(condition, f"the command to end; so far it printed {self.text}")
        return ended[0]

    def close(self) -> None:
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self._end)


@pytest.fixture
def small(fresh_ranks: None, cluster, small_recipe: Path) -> Allocated:
    """A recipe whose stage 0 does what a test asks for."""
    return Allocated(cluster, small_recipe)


@pytest.fixture
def terminal(cluster) -> Iterator[Callable[..., Terminal]]:
    opened: list[Terminal] = []

    def start(*command: str, environment: dict[str, str]) -> Terminal:
        opened.append(Terminal(*command, environment=environment))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


def test_sbatch_of_run_sh_trains_on_all_nodes_of_its_allocation(cluster, tmp_path: Path, until: Until):
    directory = tmp_path / "a corpus's" / "tas[k]"
    leave = shutil.ignore_patterns("exp", "data", "__pycache__")
    shutil.copytree(ROOT / "egs" / "TEMPLATE", directory, ignore=leave)
    recipe = Allocated(cluster, directory)
    shape = ("--nodes=2", "--ntasks-per-node=2", "--gpus-per-node=2", "--cpus-per-task=2")
    # An override with a blank: Slurm shows the command and its arguments as one line.
    arguments = ("trainer.accelerator=cpu", "trainer.max_epochs=2", "checkpoint.monitor='valid/loss'")
    job = recipe.sbatch(("--wait", *shape), *arguments)
    output = recipe.output.read_text()
    assert "ranks: 4 on 2 nodes" in output and "test/accuracy = " in output, output
    assert recipe.attempt("train")["nodes"] == ["node1", "node2"]
    sizes = {stage: recipe.attempt(stage)["world_size"] for stage in ("collect_stats", "train", "validate")}
    assert sizes == {"collect_stats": 4, "train": 4, "validate": 1}
    assert recipe.attempt("train")["environment"]["OMP_NUM_THREADS"] == "2"
    assert {recipe.attempt("train")["launcher"], recipe.attempt("train")["slurm_job_id"]} == {
        "allocation",
        job,
    }
    until(lambda: cluster.accounted(job) == ["COMPLETED"], "sacct to know the job's end")


@pytest.mark.parametrize("how", ["--signal=B:USR1@50", "--signal=USR1@50"])
def test_a_signal_ahead_of_the_time_limit_saves_and_ends_the_job_with_75(
    small: Allocated, how: str, until: Until
):
    job = small.sbatch(("--nodes=2", "--time=1", how), *WAITING)
    until(lambda: not small.cluster("squeue", "--noheader"), "the job to end")
    assert small.has("saved")(), small.output.read_text()
    assert small.end("prepare")["outcome"] == "stopped"
    until(lambda: small.cluster.accounted(job) == ["FAILED"], "sacct to know the job's end")
    shown = small.cluster("sacct", "-X", "--noheader", "--parsable2", "-o", "ExitCode", "-j", job)
    assert shown == "75:0"


def test_a_cancelled_job_saves_first_and_stays_cancelled(small: Allocated, until: Until):
    job = small.sbatch(("--nodes=2", "--requeue"), *WAITING)
    until(small.has("begun-*"), "the stage")
    small.cluster("scancel", job)
    until(lambda: not small.cluster("squeue", "--noheader"), "the job to end")
    assert small.has("saved")(), small.output.read_text()
    assert "stopped by SIGTERM" in small.output.read_text()
    until(lambda: len(small.cluster.accounted(job)) == 1, "sacct to know the job's end")
    assert small.cluster.accounted(job)[0].startswith("CANCELLED")


def test_ctrl_c_in_sallocs_shell_saves_and_ends_with_75_and_the_shell_goes_on(
    small: Allocated, terminal, until: Until
):
    shell = terminal("salloc", "--nodes=2", environment=small.environment)
    shell.type("echo on $SLURMD_NODENAME in $SLURM_STEP_ID\n")
    until(shell.shows(r"on node\d in \d+"), "the shell on the first node")
    shell.type(f"{small.run_sh} {' '.join(WAITING)}; echo code=$?\n")
    until(small.has("begun-*"), "the stage")
    shell.type("\x03")
    until(shell.shows(r"code=\d+"), "the command to end")
    assert "code=75" in shell.text and small.has("saved")(), shell.text
    (small.directory / "data" / "go").touch()
    shell.type(f"{small.run_sh} {' '.join(WAITING)}; echo code=$?\n")
    until(shell.shows(r"code=0"), "the second command to finish the stage")
    shell.type("exit\n")
    assert shell.finish(until) == 0


def test_ctrl_c_reaches_a_command_that_salloc_runs_on_the_login_node(
    small: Allocated, terminal, until: Until
):
    salloc = terminal("salloc", "--nodes=2", small.run_sh, *WAITING, environment=small.environment)
    until(small.has("begun-*"), "the stage")
    salloc.type("\x03")
    assert salloc.finish(until) == 75, salloc.text
    assert small.has("saved")(), salloc.text


def test_tasks_save_when_the_command_that_srun_serves_is_killed(small: Allocated, until: Until):
    line = f"{small.run_sh} {' '.join(WAITING)} & echo $! > {small.directory}/pid; wait; sleep 600"
    small.cluster.submit(f"export PATH={small.environment['PATH']}; {line}", "--output=/dev/null")
    until(small.has("begun-*"), "the stage")
    os.kill(int((small.directory / "pid").read_text()), signal.SIGKILL)
    until(small.has("saved"), "the task to save")
    state = small.directory / "exp" / "default" / "attempts" / "prepare-1" / "rank-0.json"
    until(lambda: json.loads(state.read_text())["outcome"] == "stopped", "the task to end")
    assert json.loads(state.read_text())["message"] == "SIGUSR1"
    claim = small.directory / "data" / "claim"
    until(lambda: not (claim / "rank-0.json").exists(), "the task to leave the claim")


def test_srun_of_a_shell_is_an_allocation_and_srun_of_run_sh_many_times_is_refused(small: Allocated):
    shape = ("srun", "--nodes=1", "--cpus-per-task=4", "--gpus-per-node=2")
    code, output = small.started(*shape, "--ntasks=1", small.run_sh, *STAGE_0)
    assert code == 0, output
    assert small.attempt("prepare")["launcher"] == "allocation"
    code, output = small.started(*shape, "--ntasks=2", small.run_sh, *STAGE_0, "tag=again")
    assert "run.sh was started by srun as 2 tasks" in output and code == 2
    assert not (small.directory / "exp" / "again").exists()


def test_other_launchers_work_inside_an_allocation(small: Allocated):
    salloc = ("salloc", "--nodes=2", "--ntasks-per-node=2")
    code, output = small.started(*salloc, small.run_sh, *STAGE_0, "launcher=local", "tag=local")
    assert code == 0, output
    folder = small.directory / "exp"
    begin = json.loads((folder / "local" / "attempts" / "prepare-1" / "begin.json").read_text())
    assert (begin["launcher"], begin["world_size"], begin["slurm_job_id"]) == ("local", 1, "")
    arguments = (*STAGE_0, "prepare.size=4", "launcher=slurm", "tag=slurm")
    code, output = small.started(*salloc, small.run_sh, *arguments)
    assert code == 0, output
    begin = json.loads((folder / "slurm" / "attempts" / "prepare-1" / "begin.json").read_text())
    granted = re.search(r"Granted job allocation (\d+)", output)
    assert granted and begin["launcher"] == "slurm" and int(begin["slurm_job_id"]) > int(granted[1])


def test_what_an_allocation_cannot_do_is_one_line_and_nothing_is_written(small: Allocated):
    salloc = ("salloc", "--quiet", "--nodes=2", "--gres=gpu:2", "--ntasks-per-node=2", "--cpus-per-task=2")
    tries = {
        "resources.train.nodes=3": "the allocation (Slurm job {}) has 2",
        "resources.train.gpus_per_node=3": "the allocation (Slurm job {}) has 2 on each node",
        "--detach": "--detach: stage 3 validate runs here (launcher=allocation)",
    }
    script = "; ".join(f"{small.run_sh} {one}; echo code $?" for one in tries)
    _, output = small.started(*salloc, "sh", "-c", f"echo $SLURM_JOB_ID; {script}")
    job, *lines = output.splitlines()
    assert len(lines) == 2 * len(tries) and lines[1::2] == ["code 2"] * len(tries), output
    for line, (given, said) in zip(lines[::2], tries.items(), strict=True):
        assert given in line and said.format(job) in line
    assert not (small.directory / "exp").exists()
