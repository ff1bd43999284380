"""Some seeds of tools/chaos, and that its checks see what they are for."""

import json
import subprocess
from pathlib import Path

import pytest
from chaotic.__main__ import run
from chaotic.faults import FAULTS
from chaotic.invariants import jobs, overlaps, torn
from chaotic.plan import Plan, Step, plan
from chaotic.world import Cluster, World

ROOT = Path(__file__).resolve().parents[2]


class Asked:
    """A cluster with this queue."""

    def __init__(self, *queue: str) -> None:
        self.queue = queue

    def asked(self, *_: str) -> str:
        return "\n".join(self.queue)


def world(folder: Path, *queue: str) -> World:
    return World(Asked(*queue), folder, folder, "seed1")


def test_a_seed_draws_the_same_faults_again_and_another_seed_others():
    names = tuple(FAULTS)
    assert plan(7, names) == plan(7, names)
    assert len({plan(seed, names).steps for seed in range(100)}) == 100
    assert {step.fault for seed in range(200) for step in plan(seed, names).steps} == set(names)


def test_an_unknown_fault_is_refused_with_those_that_there_are():
    done = subprocess.run(
        [ROOT / "tools" / "chaos", "earthquake"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "earthquake: no such fault; there are kill-rank" in done.stderr


def test_jobs_that_nobody_has_noted_and_jobs_that_are_twice_are_found(tmp_path: Path):
    noted = tmp_path / "run" / "jobs" / "train-1"
    noted.mkdir(parents=True)
    (noted / "submission.json").write_text(json.dumps({"job_id": "4"}))
    own, other = "4|recipe.seed1.2-train|RUNNING", "9|recipe.seed10.2-train|RUNNING"
    assert jobs(world(tmp_path, own, other)) == []
    assert jobs(world(tmp_path, own, "5|recipe.seed1.2-train|PENDING")) == [
        "job 5 is PENDING and nobody has noted it",
        "2 jobs of one stage are queued: 4, 5",
    ]


def test_torn_files_and_trainings_beside_each_other_are_found(tmp_path: Path):
    (tmp_path / "end.json").write_text('{"outcome": ')
    assert [line.split(":")[0] for line in torn(tmp_path)] == ["end.json is torn"]
    marked = world(tmp_path)
    marked.marks.write_text("1 10\n2 10\n2 11\n3 11\n")
    assert overlaps(marked) == []
    marked.marks.write_text("1 10\n2 11\n2 10\n3 11\n")
    assert overlaps(marked) == ["process 10 trained beside another", "process 11 trained beside another"]


@pytest.mark.slow
@pytest.mark.usefixtures("fresh_ranks")
def test_disturbed_trainings_end_as_the_undisturbed_one(
    cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    steps = (Step(3, "kill-parent-of-rank", 1), Step(5, "restart-node-daemon", 2), Step(2, "cancel-step", 3))
    found = run([Plan(1, 40.0, 0.05, steps)], tmp_path, Cluster(cluster.folder))
    assert found == [], capsys.readouterr().out
