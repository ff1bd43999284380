"""The commands of resume_script.py, each for a process of its own; not a test."""

import json
import os
from pathlib import Path

import torch

from espnet3.rundir.task import Task
from killed_runs import ended, interrupted_often, start
from resume_cases import make_corpus
from resume_ends import differences, end_of
from resume_runs import resumed_everywhere


def everywhere(directory, *cases):
    """Resume each case from each of its checkpoints, as this rank."""
    rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    task = Task("train", rank, world_size, local_rank=rank)
    if rank == 0:
        make_corpus(directory / "corpus")
    # The stage ends its process group; joining a new one for every training would take longer than training.
    end, torch.distributed.destroy_process_group = torch.distributed.destroy_process_group, lambda: None
    torch.distributed.init_process_group(
        "gloo", init_method=os.environ["RENDEZVOUS"], rank=rank, world_size=world_size
    )
    torch.distributed.barrier()
    answers = {case: resumed_everywhere(case, directory / "corpus", directory / case, task) for case in cases}
    torch.save(answers, directory / f"rank-{rank}.pt")
    end()


def kills(directory, case, ranks):
    """Interrupt a training more than twenty times; what differs from one that was left alone."""
    corpus, undisturbed = directory / "corpus", directory / "undisturbed"
    make_corpus(corpus)
    counts = interrupted_often(case, corpus, directory / "killed", world_size=int(ranks), kills=22)
    assert not any(ended(start(case, corpus, undisturbed, int(ranks), "only")))
    different = differences(end_of(undisturbed), end_of(directory / "killed"))
    (directory / "answer.json").write_text(json.dumps({**counts, "different": different}))


def sizes(directory, case):
    """Train with 2 ranks, 3, and 1, each from where the one before was stopped; what came and was said."""
    corpus = directory / "corpus"
    make_corpus(corpus)
    codes = []
    for world_size, stop_after in [(2, 2), (3, 1), (1, 0)]:
        name = f"seen-{len(codes)}"
        options = {"stop_after": stop_after, "seen": directory / name}
        codes.append(ended(start(case, corpus, directory / "run", world_size, name, **options)))
    seen = [json.loads(path.read_text()) for path in sorted(directory.glob("seen-*.json"))]
    warned = "".join(path.read_text() for path in sorted(directory.glob("seen-*-0.log")))
    (directory / "answer.json").write_text(json.dumps({"codes": codes, "seen": seen, "warned": warned}))


def main(directory, what, *arguments):
    """Run one command."""
    torch.set_num_threads(1)
    {"everywhere": everywhere, "kills": kills, "sizes": sizes}[what](Path(directory), *arguments)
