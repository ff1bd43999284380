"""What a job has left of its nodes, and the words by which it asks for other things."""

import socket

import pytest

from espnet3.launcher.batch.nodes import FoundNodes, choose_nodes
from espnet3.launcher.rank.warm.memory_events import oom_kills
from espnet3.resources import Resources
from espnet3.slurm.restarting import nodes
from espnet3.slurm.restarting.job_change import JobChange, JobRequested, Memory, parse_requested


@pytest.mark.parametrize(
    ("shown", "requested"),
    [
        ("MinMemoryNode=100M ExcNodeList=(null) Partition=p", JobRequested(Memory(100), partition="p")),
        ("MinMemoryCPU=1.50G ExcNodeList=node[1-2]", JobRequested(Memory(1536, per_cpu=True), "node[1-2]")),
        ("MinMemoryNode=0 ReqNodeList=a,b", JobRequested(None, required="a,b")),
        ("JobId=7", JobRequested(None)),
    ],
)  # fmt: skip
def test_what_a_job_asks_for_is_read(shown: str, requested: JobRequested):
    assert parse_requested(f"JobId=7 {shown}") == requested


def test_a_change_is_said_as_scontrol_and_sbatch_want_it():
    change = JobChange(Memory(150, per_cpu=True), "node1")
    assert change.scontrol == ["MinMemoryCPU=150", "ExcNodeList=node1"]
    assert change.sbatch == ["--mem-per-cpu=150M", "--exclude=node1"]
    assert JobChange(exclude="") and not JobChange()


def test_nodes_answer_whose_slurmd_listens_and_those_of_which_nothing_is_known(
    monkeypatch: pytest.MonkeyPatch,
):
    with socket.create_server(("127.0.0.1", 0)) as listens, socket.create_server(("127.0.0.1", 0)) as closed:
        ports = [listens.getsockname()[1], closed.getsockname()[1]]
        closed.close()
        shown = "".join(
            f"NodeName={name} NodeAddr=127.0.0.1 Port={port}\n"
            for name, port in zip("ab", ports, strict=True)
        )
        monkeypatch.setattr(nodes, "ask", lambda command: shown)
        assert nodes.answering(["a", "b", "c"]) == ["a", "c"]


@pytest.mark.parametrize(
    ("given", "alive", "blamed", "found"),
    [
        ({"spare_nodes": 1}, "abc", {}, "abc"),
        ({"spare_nodes": 1}, "abc", {"b": 1}, "acb"),  # a spare in the place of one that ended an attempt
        ({"spare_nodes": 1}, "abc", {"a": 3}, "abc"),  # the batch process stays where it is
        ({"spare_nodes": 1}, "ac", {}, "ac"),
        ({"spare_nodes": 1}, "a", {}, ""),
        ({"spare_nodes": 1, "min_nodes": 1}, "a", {}, "a"),
    ],
)
def test_the_nodes_of_the_next_attempt(given: dict, alive: str, blamed: dict, found: str):
    chosen = choose_nodes(Resources(nodes=2, **given), list("abc"), list(alive), blamed)
    assert "".join(chosen.nodes) == found


def test_what_became_of_dead_nodes_is_said():
    resources = Resources(nodes=2, spare_nodes=1, min_nodes=1)
    assert choose_nodes(resources, ["a", "b", "c"], ["a", "b", "c"], {}).lost == ""
    spare = choose_nodes(resources, ["a", "b", "c"], ["a", "c"], {})
    assert spare == FoundNodes(["a", "c"], "b does not answer: goes on with 2 nodes, 0 spares left")
    fewer = choose_nodes(resources, ["a", "b", "c"], ["a"], {})
    assert fewer.lost == "b, c do not answer, and no spare is left: goes on with 1 node instead of 2"
    none = choose_nodes(Resources(nodes=2, spare_nodes=1), ["a", "b", "c"], ["a"], {})
    assert none == FoundNodes([], "b, c do not answer, and no spare is left")


@pytest.mark.parametrize(
    ("groups", "file", "text", "kills"),
    [
        ("0::/job/step", "job/step/memory.events", "low 0\noom 3\noom_kill 2\n", 2),
        ("4:memory:/job\n0::/\n", "memory/job/memory.oom_control", "under_oom 0\noom_kill 1\n", 1),
        ("4:memory:/job\n", "memory/other", "", 0),
        ("5:cpu,cpuacct:/job\n", "memory/job/memory.oom_control", "oom_kill 1\n", 0),
    ],
)
def test_the_kernel_counts_whom_it_has_ended_for_memory(
    tmp_path, groups: str, file: str, text: str, kills: int
):
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_text(text)
    assert oom_kills(groups, tmp_path) == kills
