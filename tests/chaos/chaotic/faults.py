"""The faults, by name: each disturbs a world now, and ends what it has begun."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random

from chaotic.world import World, wait

Fault = Callable[[World, Random], None]
FAULTS: dict[str, Fault] = {}


def fault(function: Fault) -> Fault:
    """Enter a function under its name."""
    FAULTS[function.__name__.replace("_", "-")] = function
    return function


@fault
def kill_rank(world: World, random: Random) -> None:
    """A rank is killed, as the kernel does when memory runs out."""
    kill(random.choice(world.ranks()).pid)


@fault
def kill_parent_of_rank(world: World, random: Random) -> None:
    """The process that has forked a rank is killed."""
    pid = random.choice(world.ranks()).pid
    with suppress(OSError):
        kill(int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1]))


@fault
def kill_batch_process(world: World, random: Random) -> None:
    """The process that watches over the ranks on the first node is killed."""
    for pid, line in world.processes().items():
        if "run_job" in line and "srun" not in line.split()[0]:
            kill(pid)


@fault
def kill_srun(world: World, random: Random) -> None:
    """The srun of the ranks is killed."""
    for pid, line in world.processes().items():
        if line.split()[:1] and line.split()[0].endswith("srun"):
            kill(pid)


@fault
def stop_rank(world: World, random: Random) -> None:
    """A rank stands still for some seconds, and goes on."""
    with stopped([random.choice(world.ranks()).pid]):
        time.sleep(random.uniform(0.5, 5))


@fault
def stop_everything(world: World, random: Random) -> None:
    """All processes of the run stand still, as on suspended nodes."""
    with stopped(list(world.processes())):
        time.sleep(random.uniform(0.5, 5))


@fault
def kill_node(world: World, random: Random) -> None:
    """Power is cut from a node of the run, and comes back when the run goes on, or before."""
    node = random.choice(world.ranks()).node
    world.cluster.tool("kill-node", node)
    if random.random() < 0.5:
        time.sleep(random.uniform(0, 10))
    else:
        world.trains_on(1)
    world.cluster.tool("revive-node", node)


@fault
def cut_node_off(world: World, random: Random) -> None:
    """A node does not answer until Slurm has given it up, and its processes live on; then it is back."""
    node = random.choice(world.ranks()).node
    with stopped([world.cluster.daemon(node)]):
        wait(
            lambda: "DOWN" in world.cluster.asked("sinfo", "-h", "-N", "-n", node, "-o", "%T").upper(),
            f"{node} to be down",
        )
        time.sleep(random.uniform(0, 5))


@fault
def slow_node_daemon(world: World, random: Random) -> None:
    """A node does not answer for some seconds."""
    with stopped([world.cluster.daemon(random.choice(world.ranks()).node)]):
        time.sleep(random.uniform(1, 8))


@fault
def restart_node_daemon(world: World, random: Random) -> None:
    """slurmd is killed alone, and started again: the job's processes live on."""
    kill(world.cluster.daemon(random.choice(world.ranks()).node))
    world.cluster.tool("up")


@fault
def requeue(world: World, random: Random) -> None:
    """An administrator requeues the job."""
    world.cluster.asked("scontrol", "requeue", world.job())


@fault
def hold(world: World, random: Random) -> None:
    """An administrator requeues the job and holds it for a moment."""
    job = world.job()
    world.cluster.asked("scontrol", "requeuehold", job)
    wait(lambda: queue_state(world, job) in ("PENDING", ""), f"{job} to be requeued", world)
    time.sleep(random.uniform(0, 3))
    world.cluster.asked("scontrol", "release", job)


@fault
def cancel_step(world: World, random: Random) -> None:
    """Somebody cancels the step of the ranks, not the job."""
    world.cluster.asked("scancel", f"{world.job()}.0")


@fault
def suspend(world: World, random: Random) -> None:
    """The job is suspended and resumed by an administrator."""
    world.cluster.asked("scontrol", "suspend", world.job())
    time.sleep(random.uniform(0.5, 5))
    world.cluster.asked("scontrol", "resume", world.job())


@fault
def preempt(world: World, random: Random) -> None:
    """A job with more rights takes all nodes for a moment."""
    options = ("--wait", "--partition=urgent", "-N4", "--exclusive", "--output=/dev/null")
    world.cluster.asked("sbatch", *options, "--wrap", f"sleep {random.uniform(0, 3):.1f}")


@fault
def restart_controller(world: World, random: Random) -> None:
    """slurmctld is killed, and started again after some seconds."""
    kill(world.cluster.daemon("slurmctld"))
    time.sleep(random.uniform(0, 8))
    world.cluster.tool("up")


@fault
def fill_disk(world: World, random: Random) -> None:
    """The disk of the run is full until a checkpoint could not be written, or for some seconds."""
    ballast = world.disk / "ballast"
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    began = time.monotonic()
    while world.code is None and time.monotonic() - began < random.uniform(3, 15):
        time.sleep(0.1)
    ballast.unlink()


def queue_state(world: World, job: str) -> str:
    """What squeue says of a job; nothing where it is gone."""
    return world.cluster.asked("squeue", "-h", "-o", "%T", "-j", job)


def kill(pid: int) -> None:
    """Kill a process that may have ended."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


@contextmanager
def stopped(pids: list[int]) -> Iterator[None]:
    """Processes stand still inside the block."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
