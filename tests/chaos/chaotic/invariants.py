"""What must hold after each fault and at the end of a run, whatever has happened: lists of what does not."""

import json
from collections import Counter
from pathlib import Path

from chaotic.world import World, wait


def always(world: World) -> list[str]:
    """What holds at any time: no job without a record of ours, no job twice, no torn file."""
    return [*jobs(world), *torn(world.exp)]


def at_the_end(world: World, undisturbed: World) -> list[str]:
    """What holds when the command has ended."""
    return [*always(world), *overlaps(world), *same_results(world, undisturbed), *left_behind(world)]


def jobs(world: World) -> list[str]:
    """Slurm's jobs of the run are those that it has noted, each once."""
    noted = Counter(
        str(json.loads(path.read_text())["job_id"]) for path in world.exp.glob("jobs/*/submission.json")
    )
    wrong = [f"job {job} was noted {count} times" for job, count in noted.items() if count > 1]
    queued = world.cluster.asked("squeue", "--noheader", "--format=%i|%j|%T").splitlines()
    mine = [line.split("|") for line in queued if world.name in line.split("|")[1].split(".")]
    wrong += [f"job {job} is {state} and nobody has noted it" for job, _, state in mine if job not in noted]
    if len(mine) > 1:
        wrong.append(f"{len(mine)} jobs of one stage are queued: {', '.join(job for job, *_ in mine)}")
    return wrong


def torn(folder: Path) -> list[str]:
    """Each JSON file of ours is whole."""
    wrong = []
    for path in folder.rglob("*.json"):
        try:
            json.loads(path.read_text())
        except FileNotFoundError:
            continue
        except ValueError as error:
            wrong.append(f"{path.name} is torn: {error}")
    return wrong


def overlaps(world: World) -> list[str]:
    """Two attempts never trained at the same time: the batches of a process follow each other."""
    pids = [line.split()[1] for line in world.marks.read_text().splitlines()]
    turns = [pid for before, pid in zip([None, *pids], pids, strict=False) if pid != before]
    return [f"process {pid} trained beside another" for pid, count in Counter(turns).items() if count > 1]


def same_results(world: World, undisturbed: World) -> list[str]:
    """Weights and metrics are those of the undisturbed run, bit for bit, and each checkpoint can be read."""
    import torch

    wrong = []
    for path in sorted(world.exp.glob("checkpoints/*.ckpt")):
        try:
            torch.load(path, weights_only=True)
        except Exception as error:
            wrong.append(f"{path.name} can't be read: {error}")
    weights, expected = (
        torch.load(one.exp / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for one in (world, undisturbed)
    )
    wrong += [f"{name} has other bits" for name in expected if not torch.equal(weights[name], expected[name])]
    rows, expected_rows = ((one.exp / "csv" / "metrics.csv").read_text() for one in (world, undisturbed))
    if rows != expected_rows:
        wrong.append("csv/metrics.csv has other rows")
    return wrong


def left_behind(world: World) -> list[str]:
    """No process, no job and no temporary file is left."""
    try:
        wait(lambda: not world.processes(), "the processes of the run to end")
        wait(lambda: not world.cluster.run("squeue", "--noheader"), "the queue to be empty")
    except Exception as error:
        return [f"{error}: {'; '.join(world.processes().values())[:300]}"]
    return [f"{path.relative_to(world.exp)} is left" for path in world.exp.rglob(".*.tmp")]
