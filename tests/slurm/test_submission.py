"""Submission to a real Slurm: what is refused and how, and what environment jobs and tasks start with."""

import json
import os
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

STAGE_0 = ("--stage", "0", "--stop-stage", "0", "launcher=slurm")
TELLING = """
import json
import os
from pathlib import Path

import making


def make(data_dir, **arguments):
    (Path(data_dir) / "environment.json").write_text(json.dumps(dict(os.environ)))
    return making.make(data_dir, **arguments)
"""


@pytest.fixture
def submit(cluster, run) -> Callable[..., tuple[int, str]]:
    """Run a command where Slurm is the test's own: exit code and output."""
    return lambda recipe, *arguments, **environment: run(
        recipe, *arguments, **{**cluster.environment, **environment}
    )


@pytest.fixture
def telling(fresh_ranks: None, small_recipe: Path) -> Path:
    """A recipe whose stage 0 keeps the environment that it had."""
    (small_recipe / "telling.py").write_text(TELLING)
    config = small_recipe / "conf" / "config.yaml"
    config.write_text(config.read_text().replace("making.make", "telling.make"))
    return small_recipe


def environment_of_stage_0(recipe: Path) -> dict[str, str]:
    return json.loads((recipe / "data" / "environment.json").read_text())


def nothing_is_left(recipe: Path, cluster) -> None:
    assert cluster("squeue", "--noheader") == ""
    assert [path for path in (recipe / "exp").rglob("*") if path.is_file()] == []
    assert not (recipe / "exp" / "default" / "jobs").exists()


@contextmanager
def limited(cluster, **limits: str) -> Iterator[None]:
    """The partition `normal` with other limits for a while."""
    cluster(
        "scontrol", "update", "partitionname=normal", *(f"{key}={value}" for key, value in limits.items())
    )
    try:
        yield
    finally:
        cluster(
            "scontrol",
            "update",
            "partitionname=normal",
            "maxtime=unlimited",
            "maxnodes=unlimited",
            "state=up",
        )


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("resources.train.partition=gpuu", "stage 2 train: invalid partition specified: gpuu"),
        (
            "resources.train.nodes=9",
            "resources.train.nodes=9: partition normal takes jobs of at most 4 nodes",
        ),
        ("resources.train.gpus_per_node=9", "Requested node configuration is not available"),
        (
            "resources.validate.mem_gb=9999",
            "stage 3 validate: allocation failure: Requested node configuration",
        ),
        ("resources.train.constraint=a100", "Invalid feature specification"),
        ("resources.train.additional_parameters={reservation: none}", "Requested reservation is invalid"),
        ("resources.train.additional_parameters={foo: bar}", "unrecognized option '--foo=bar'"),
        ('resources.train.setup=["echo \'x"]', 'resources.train.setup=["echo \'x"]: is no shell: line'),
        ("resources.train.python=/no/python", "resources.train.python=/no/python: there is no program"),
    ],
)
def test_what_slurm_would_refuse_is_one_line_and_nothing_is_queued_or_left(
    cluster, small_recipe: Path, submit, override: str, said: str
):
    code, output = submit(small_recipe, "launcher=slurm", "--detach", override)
    assert code == 2, output
    assert output.count("\n") == 1 and said in output
    nothing_is_left(small_recipe, cluster)


def test_a_constraint_that_no_node_has_is_answered_by_those_that_there_are(
    cluster, small_recipe: Path, submit
):
    cluster("scontrol", "update", "nodename=node1", "availablefeatures=a100,ib")
    try:
        code, output = submit(small_recipe, *STAGE_0, "--detach", "resources.prepare.constraint=a1000")
    finally:
        cluster("scontrol", "update", "nodename=node1", "activefeatures=", "availablefeatures=")
    assert code == 2 and output.endswith("Invalid feature specification; nodes have a100, ib\n"), output


def test_what_slurm_would_take_and_never_start_is_refused_too(cluster, small_recipe: Path, submit):
    with limited(cluster, maxtime="60", maxnodes="2"):
        code, output = submit(small_recipe, *STAGE_0, "--detach")
        assert code == 2 and output.count("\n") == 1
        assert (
            "resources.prepare.timeout_min=1440: partition normal takes jobs of at most 60 minutes" in output
        )
        short = [
            f"resources.{stage}.timeout_min=30" for stage in ("prepare", "collect_stats", "train", "validate")
        ]
        code, output = submit(small_recipe, "launcher=slurm", "--detach", *short, "resources.train.nodes=3")
        assert code == 2
        assert "resources.train.nodes=3: partition normal takes jobs of at most 2 nodes" in output
        nothing_is_left(small_recipe, cluster)
    with limited(cluster, state="inactive"):
        code, output = submit(small_recipe, *STAGE_0, "--detach")
        assert code == 2 and "partition not available" in output
        nothing_is_left(small_recipe, cluster)


def test_without_slurm_the_missing_command_is_named(small_recipe: Path, run):
    code, output = run(small_recipe, *STAGE_0, PATH="/nowhere")
    assert code == 2
    assert output.count("\n") == 1 and "scontrol is not on PATH" in output


def test_a_job_that_is_submitted_from_inside_a_job_is_its_own(cluster, telling: Path, tmp_path: Path, until):
    """The outer job's size, ranks and GPUs must not reach the inner one; the user's variables must."""
    out = tmp_path / "outer.log"
    command = shlex.join([sys.executable, "-m", "espnet3", "run", "--recipe", str(telling), *STAGE_0])
    script = (
        "export RANK=3 WORLD_SIZE=8 LOCAL_RANK=3 MASTER_ADDR=nowhere SUBMITIT_JOB_ID=7 PMI_RANK=3"
        f" SBATCH_PARTITION=urgent MINE=yes; {command}"
    )
    options = ("--nodes=2", "--ntasks-per-node=2", "--cpus-per-task=2", "--gpus-per-node=2", "--mem=1000")
    cluster.submit(script, "--wait", *options, f"--output={out}")
    assert "3 utterances in" in out.read_text(), out.read_text()
    inner = environment_of_stage_0(telling)
    assert inner["MINE"] == "yes"
    left = {"RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "SUBMITIT_JOB_ID", "PMI_RANK"}
    assert {key: inner[key] for key in left & inner.keys()} == {}
    assert inner["SLURM_JOB_PARTITION"] == "normal"
    assert (inner["SLURM_NTASKS"], inner["SLURM_CPUS_PER_TASK"], inner["SLURM_JOB_NUM_NODES"]) == (
        "1",
        "1",
        "1",
    )
    assert inner.get("CUDA_VISIBLE_DEVICES", "") in ("", "NoDevFiles")


@pytest.mark.parametrize(
    ("override", "environment"),
    [
        ("resources.prepare.additional_parameters={export: NONE}", {}),
        ("seed=1", {"SBATCH_EXPORT": "NONE", "SLURM_EXPORT_ENV": "NONE", "SBATCH_PARTITION": "none"}),
    ],
)
def test_a_job_finds_its_python_whatever_the_site_says_of_the_environment(
    telling: Path, submit, override: str, environment: dict[str, str]
):
    code, output = submit(telling, *STAGE_0, override, MINE="yes", **environment)
    assert code == 0, output
    assert "3 utterances in" in output
    assert (environment_of_stage_0(telling).get("MINE") == "yes") == bool(environment)


def test_a_secret_reaches_the_training_on_the_nodes_and_no_file(secret_recipe, submit):
    recipe = secret_recipe
    ranks = ("resources.train.nodes=2", "trainer.max_epochs=1", "trainer.accelerator=cpu")
    code, output = submit(
        recipe.directory, "launcher=slurm", *ranks, *recipe.OVERRIDES, SENTINEL_API_KEY=recipe.SECRET
    )
    assert code == 0, output
    assert (recipe.directory / "was-here").exists()
    assert recipe.holding(recipe.SECRET) == set() and recipe.SECRET not in output
    named = recipe.directory / "exp" / "default" / "jobs" / "train-1" / "config.yaml"
    assert f"${{oc.env:{recipe.VARIABLE}}}" in named.read_text()

    code, output = submit(
        recipe.directory, "launcher=slurm", *ranks, *recipe.OVERRIDES, "tag=without",
        "resources.train.additional_parameters={export: NONE}", SENTINEL_API_KEY=recipe.SECRET,
    )  # fmt: skip
    assert code == 1
    assert f"{recipe.VARIABLE} is not set here, and callbacks.probe.api_key takes it" in output


@pytest.mark.usefixtures("fresh_ranks")
def test_a_job_whose_folder_others_could_have_filled_does_not_run(cluster, small_recipe: Path, submit, until):
    exp_dir = small_recipe / "exp" / "default"
    code, output = submit(
        small_recipe, *STAGE_0, "--detach", "resources.prepare.additional_parameters={hold: true}"
    )
    assert code == 0, output
    folder = exp_dir / "jobs" / "prepare-1"
    assert folder.stat().st_mode & 0o777 == 0o700
    for above in (exp_dir, folder.parent):
        above.chmod(0o2770)
    folder.chmod(0o770)
    job = json.loads((folder / "submission.json").read_text())["job_id"]
    cluster("scontrol", "release", job)
    until(lambda: cluster.accounted(job) == ["FAILED"], "the job to fail")
    assert f"chmod 700 {folder}" in (exp_dir / "logs" / "prepare" / f"job-{job}.log").read_text()
    assert not (small_recipe / "data" / "train.jsonl").exists()

    folder.chmod(0o700)
    (folder / "end.json").unlink(missing_ok=True)
    code, output = submit(small_recipe, *STAGE_0)  # a shared run directory is no hindrance
    assert code == 0, output
    assert os.access(small_recipe / "data" / "train.jsonl", os.R_OK)
