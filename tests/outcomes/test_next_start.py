"""With which request a job starts again."""

import pytest

from espnet3.outcomes.memory import more_memory, ran_out_of_memory
from espnet3.outcomes.next_start import next_start
from espnet3.outcomes.restart import decide_restart, with_next_start
from espnet3.resources import Resources
from espnet3.rundir.records.attempt import AttemptResult
from espnet3.slurm.restarting.job_change import JobChange, JobRequested, Memory

OOM = AttemptResult(
    "killed", "rank 0 was killed on node1: Detected 1 oom_kill event in StepId=7.0.", ended_at=1.0
)
BAD = AttemptResult("killed", "rank 2 was killed on node2", ended_at=1.0, node="node2")
HAS = JobRequested(Memory(1000), partition="normal")


@pytest.mark.parametrize(
    ("outcome", "reason", "out"),
    [
        ("killed", OOM.reason, True),
        ("killed", "rank 0 was killed: node1: task 0: Out Of Memory", True),
        ("killed", "rank 0 was killed: Detected 1 oom-kill event(s) in StepId=1.0", True),
        ("killed", "rank 0 was killed: out of memory: the kernel has ended a process of this rank", True),
        ("killed", "rank 0 was killed on node1", False),
        ("failed", "rank 0: OutOfMemoryError: CUDA out of memory.", False),
    ],
)
def test_memory_of_the_host_runs_out_where_slurm_or_the_kernel_says_so(outcome, reason: str, out: bool):
    assert ran_out_of_memory(AttemptResult(outcome, reason)) == out


@pytest.mark.parametrize(
    ("has", "most_gb", "gets"),
    [
        (Memory(1000), None, None),
        (Memory(1000), 100, Memory(1500)),
        (Memory(1000), 1.25, Memory(1280)),
        (Memory(1280), 1.25, None),  # it has all that it may have
        (Memory(1000, per_cpu=True), 100, Memory(1500, per_cpu=True)),
        (Memory(1000, per_cpu=True), 5, Memory(1280, per_cpu=True)),  # of each of 4 CPUs
        (None, 100, None),  # whole nodes
    ],
)
def test_memory_grows_by_half_up_to_the_limit(has, most_gb, gets):
    assert more_memory(OOM, has, most_gb, cpus_per_node=4) == gets


def start(result: AttemptResult, earlier=(), has: JobRequested = HAS, **given):
    resources = Resources(
        **{name: given.pop(name) for name in list(given) if name in Resources.__annotations__}
    )
    values = {"partition_nodes": 4, "in_use": ["node1", "node2"], "in_vain": True, "now": 2.0, **given}
    return next_start(result, earlier, resources, has, **values)


def test_a_job_without_memory_leaves_its_nodes_and_asks_for_more():
    found = start(OOM, max_mem_gb=4)
    assert found.change.scontrol == ["MinMemoryNode=1500"] and found.change.sbatch == ["--mem=1500M"]
    decision = with_next_start(decide_restart(OOM, max_restarts=1), found)
    assert decision.after == "requeue" and decision.change == found.change
    assert decision.reason.endswith("asks for 1.46 GB of memory instead of 0.977 GB")
    assert start(OOM).change == JobChange()
    assert with_next_start(decide_restart(OOM, max_restarts=1), start(OOM)).after == "restart"


def test_a_job_that_does_not_restart_asks_for_nothing():
    decision = decide_restart(OOM, without_progress=2, max_restarts=1)
    assert with_next_start(decision, start(OOM, max_mem_gb=4)) == decision


@pytest.mark.parametrize(
    ("earlier", "given", "exclude", "leaves"),
    [
        ([], {}, None, False),
        ([BAD], {}, "node2", True),
        ([BAD], {"in_use": ["node1", "node3"]}, "node2", False),  # in another of its jobs
        ([BAD], {"in_vain": False}, "node2", False),  # it gets further there
        ([BAD], {"replaceable": 1, "spare_nodes": 1}, "node2", False),  # a spare takes its place
        (
            [BAD],
            {"replaceable": 1, "in_use": ["node2", "node1"]},
            "node2",
            True,
        ),  # the batch process is there
        ([BAD], {"excluded": "node4"}, "node4,node2", True),
        ([BAD], {"partition_nodes": 1}, None, False),
        ([BAD], {"has": JobRequested(None, required="node[1-2]")}, None, False),
        ([BAD], {"now": 1e6, "has": JobRequested(None, exclude="node2")}, "", False),  # forgotten after a day
        ([], {"now": 1e6, "has": JobRequested(None, exclude="node2")}, None, False),  # somebody else's
    ],
)
def test_a_node_that_ended_two_attempts_is_left_out(earlier, given, exclude, leaves: bool):
    found = start(BAD, earlier, **given)
    assert found.change.exclude == exclude and bool(found.leaves) == leaves
    if leaves:
        assert found.leaves == "leaves out node2, which has ended 2 attempts, the last one as " + BAD.reason
