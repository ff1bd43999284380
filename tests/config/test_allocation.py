"""What stages have inside a Slurm allocation, from the variables that Slurm 22.05 sets there."""

from dataclasses import replace
from pathlib import Path

import pytest

from espnet3.config.compose import compose, find_recipe
from espnet3.errors import UserError
from espnet3.launcher.planning.plan import plan
from espnet3.slurm.allocation import Allocation, per_node, read_allocation
from espnet3.slurm.step import srun_environment

ON_LOGIN_NODE = {"SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "node[1-2]"}
ON_NODE = {**ON_LOGIN_NODE, "SLURMD_NODENAME": "node1"}
TWO = {**ON_NODE, "SLURM_JOB_NUM_NODES": "2"}
FOUR_TASKS = Allocation("7", nodes=2, cpus_per_node=8, gpus_per_node=2, tasks_per_node=2, cpus_per_task=3)
NOBODY_SAID = Allocation("7", nodes=2, cpus_per_node=8, gpus_per_node=4)


@pytest.mark.parametrize(
    ("options", "variables", "nodes", "cpus", "gpus", "tasks", "cpus_per_task"),
    [
        (
            "sbatch -N 2 --ntasks-per-node=2 --gpus-per-node=2",
            TWO
            | {"SLURM_NTASKS_PER_NODE": "2", "SLURM_NTASKS": "4", "SLURM_TASKS_PER_NODE": "2(x2)"}
            | {"SLURM_JOB_CPUS_PER_NODE": "2(x2)", "SLURM_GPUS_PER_NODE": "2", "SLURM_GPUS_ON_NODE": "2"},
            *(2, 2, 2, 2, None),
        ),
        (
            "sbatch -N 2 --gpus-per-node=h100:4 -c 8",
            TWO
            | {"SLURM_TASKS_PER_NODE": "1(x2)", "SLURM_CPUS_PER_TASK": "8"}
            | {"SLURM_JOB_CPUS_PER_NODE": "8(x2)", "SLURM_GPUS_PER_NODE": "h100:4"},
            *(2, 8, 4, None, 8),
        ),
        (
            "sbatch -N 2 --exclusive",
            TWO
            | {"SLURM_TASKS_PER_NODE": "8,6", "SLURM_JOB_CPUS_PER_NODE": "8,6"}
            | {"SLURM_GPUS_ON_NODE": "4", "SLURM_JOB_GPUS": "0,1,2,3"},
            *(2, 6, 4, None, None),
        ),
        (
            "sbatch -N 2 -n 3 --gpus=4",
            TWO
            | {"SLURM_NTASKS": "3", "SLURM_TASKS_PER_NODE": "2,1", "SLURM_JOB_CPUS_PER_NODE": "2,1"}
            | {"SLURM_GPUS": "4", "SLURM_GPUS_ON_NODE": "3"},
            *(2, 1, 2, 1, None),
        ),
        (
            "salloc -n 4 --gpus-per-task=1, on a login node",
            ON_LOGIN_NODE
            | {"SLURM_JOB_NUM_NODES": "1", "SLURM_JOB_CPUS_PER_NODE": "4"}
            | {"SLURM_NTASKS": "4", "SLURM_TASKS_PER_NODE": "4", "SLURM_GPUS_PER_TASK": "1"},
            *(1, 4, 4, 4, None),
        ),
        (
            "srun -N 1 --gres=gpu:2 -c 4 --pty bash",
            ON_NODE
            | {"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "1", "SLURM_NTASKS": "1"}
            | {"SLURM_CPUS_PER_TASK": "4", "SLURM_JOB_CPUS_PER_NODE": "4", "SLURM_GPUS_ON_NODE": "2"},
            *(1, 4, 2, None, None),
        ),
        ("sbatch", ON_NODE | {"SLURM_JOB_CPUS_PER_NODE": "1"}, *(1, 1, 0, None, None)),
    ],
)
def test_what_is_there(options, variables, nodes, cpus, gpus, tasks, cpus_per_task):
    found = read_allocation(variables)
    assert found and found.job_id == "7"
    assert (found.nodes, found.cpus_per_node, found.gpus_per_node) == (nodes, cpus, gpus), options
    assert (found.tasks_per_node, found.cpus_per_task) == (tasks, cpus_per_task), options


def test_the_number_of_a_job_that_somebody_passed_on_is_no_allocation():
    assert read_allocation({"SLURM_JOB_ID": "7", "PATH": "/bin"}) is None


def test_outside_is_none_and_nodes_are_abbreviated():
    assert read_allocation({"PATH": "/bin"}) is None
    assert per_node("72(x2),36") == [72, 72, 36]


def resources(recipe: Path, allocation: Allocation | None, *overrides: str) -> dict[str, tuple]:
    """Launcher, nodes, tasks per node, GPUs per node and CPUs per task of stages 0 and 2."""
    jobs = plan(compose(find_recipe(recipe), overrides, allocation), ["prepare", "train"], allocation)
    return {job.stage: (job.launcher, *(getattr(job.resources, name) for name in NAMES)) for job in jobs}


NAMES = ("nodes", "tasks_per_node", "gpus_per_node", "cpus_per_task")


def test_a_training_has_all_that_is_there_and_a_stage_of_one_task_its_part(small_recipe: Path):
    there = resources(small_recipe, FOUR_TASKS)
    assert there == {"prepare": ("allocation", 1, 1, 1, 3), "train": ("allocation", 2, 2, 2, 3)}
    there = resources(small_recipe, NOBODY_SAID)
    assert there == {"prepare": ("allocation", 1, 1, 1, 2), "train": ("allocation", 2, 4, 4, 2)}


def test_files_do_not_contradict_an_allocation_and_the_command_line_may_ask_for_less(small_recipe: Path):
    file = small_recipe / "conf" / "config.yaml"
    own = "resources: {train: {nodes: 8, tasks_per_node: 1, cpus_per_task: 64, launcher: slurm}}"
    file.write_text(file.read_text() + own)
    assert resources(small_recipe, NOBODY_SAID)["train"] == ("allocation", 2, 4, 4, 2)
    less = resources(small_recipe, NOBODY_SAID, "resources.train.gpus_per_node=2")
    assert less["train"] == ("allocation", 2, 2, 2, 4)
    less = resources(small_recipe, NOBODY_SAID, "resources.train.nodes=1", "resources.train.tasks_per_node=1")
    assert less["train"] == ("allocation", 1, 1, 4, 8)


@pytest.mark.parametrize(
    ("allocation", "overrides", "said"),
    [
        (FOUR_TASKS, ["resources.train.nodes=3"], "nodes=3: the allocation (Slurm job 7) has 2"),
        (
            FOUR_TASKS,
            ["resources.train.gpus_per_node=4"],
            "gpus_per_node=4: the allocation (Slurm job 7) has 2",
        ),
        (
            FOUR_TASKS,
            ["resources.train.tasks_per_node=3"],
            "tasks_per_node=3: the allocation (Slurm job 7) has 2",
        ),
        (FOUR_TASKS, ["resources.train.cpus_per_task=5"], "takes 10 CPUs on each node: the allocation"),
        (NOBODY_SAID, ["resources.train.tasks_per_node=9"], "takes 9 CPUs on each node: the allocation"),
        (FOUR_TASKS, ["trainer.devices=4"], "trainer.devices=4 contradicts resources.train.tasks_per_node=2"),
        (replace(FOUR_TASKS, tasks_of_this_step=4), [], "run.sh was started by srun as 4 tasks"),
        (None, ["launcher=allocation"], "this is no Slurm allocation"),
    ],
)
def test_what_is_not_there_is_refused(small_recipe: Path, allocation, overrides: list[str], said: str):
    with pytest.raises(UserError) as error:
        resources(small_recipe, allocation, *overrides)
    assert said in str(error.value)


def test_another_launcher_on_the_command_line_or_a_job_of_ours_leaves_the_allocation_alone(
    small_recipe: Path,
):
    for launcher in ("local", "debug", "slurm"):
        there = resources(small_recipe, FOUR_TASKS, f"launcher={launcher}")
        assert there["train"] == (launcher, 1, 1, 0, 1)
    there = resources(small_recipe, FOUR_TASKS, "resources.prepare.launcher=local")
    assert there == {"prepare": ("local", 1, 1, 0, 1), "train": ("allocation", 2, 2, 2, 3)}
    ours = read_allocation(TWO | {"ESPNET3_JOB": "train-1", "SLURM_JOB_CPUS_PER_NODE": "8(x2)"})
    assert resources(small_recipe, ours)["train"] == ("local", 1, 1, 0, 1)
    assert resources(small_recipe, ours, "launcher=allocation")["train"] == ("allocation", 2, 1, 0, 8)


def test_an_srun_of_ours_does_not_inherit_the_shape_that_sbatch_was_asked_for():
    shape = {"SLURM_NTASKS": "4", "SLURM_NTASKS_PER_GPU": "1", "SLURM_GPUS": "4", "SLURM_CPUS_PER_TASK": "2"}
    other = {"SLURM_JOB_ID": "7", "SLURM_MEM_PER_NODE": "100", "PATH": "/bin"}
    assert srun_environment(shape | other) == other
    inside = other | {"SLURM_STEP_ID": "3"}  # of `srun --pty bash`, which holds all there is
    assert srun_environment(inside) == inside | {"SLURM_OVERLAP": "1", "SLURM_MEM_PER_NODE": "0"}
    assert "SLURM_OVERLAP" not in srun_environment(other | {"SLURM_STEP_ID": "4294967290"})  # salloc's shell
