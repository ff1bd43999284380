"""`espnet3 doctor` on a real cluster: what it tells, and that it leaves nothing behind."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("fresh_ranks")]

Until = Callable[[Callable[[], object], str], None]
HELD = "resources.train.additional_parameters={hold: true}"


class Doctor:
    """`espnet3 doctor` for one recipe, where Slurm is the test's own."""

    def __init__(self, recipe: Path, environment: dict[str, str]) -> None:
        self.recipe, self.environment = recipe, environment

    def start(self, *arguments: str, before: tuple[str, ...] = ()) -> "subprocess.Popen[str]":
        command = [*before, sys.executable, "-m", "espnet3", "doctor", *arguments]
        return subprocess.Popen(
            command, cwd=self.recipe, env=self.environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def __call__(self, *arguments: str, before: tuple[str, ...] = ()) -> tuple[int, str]:
        process = self.start(*arguments, before=before)
        output, _ = process.communicate(timeout=300)
        return process.returncode, output


@pytest.fixture
def doctor(cluster, small_recipe: Path) -> Doctor:
    return Doctor(small_recipe, dict(cluster.environment))


def wrong(output: str) -> list[str]:
    return [line for line in output.splitlines() if line.startswith("✗")]


def nothing_is_left(cluster, recipe: Path) -> None:
    running = cluster("squeue", "--noheader", "--format=%j %T")
    assert [job for job in running.splitlines() if "COMPLETING" not in job] == []
    assert not list(recipe.rglob(".espnet3-doctor-*")) and not (recipe / "exp").exists()


def test_a_cluster_that_is_well_is_told_so(cluster, doctor: Doctor):
    code, output = doctor()
    assert code == 0, output
    assert wrong(output) == []
    for line in (
        "✓ the controller of cluster espnet3 answers",
        "✓ partition normal (default): 4 nodes of 8 CPUs, 62 GB, gpu:4; time limit: no limit",
        "✓ sacct answers",
        "✓ MaxArraySize 1001",
        "KillWait 10 s",
        "✓ Slurm takes jobs of prepare, collect_stats, train, validate",
        "ran on node1, node2",
        f"✓ all nodes see {doctor.recipe}; a file",
        "✓ Python 3.",
        "✓ the names of node1, node2 resolve on them",
        "✓ the nodes reach each other",
        "✓ clocks agree",
    ):
        assert line in output
    nothing_is_left(cluster, doctor.recipe)


def test_what_is_asked_for_is_looked_at_on_as_many_nodes(cluster, doctor: Doctor):
    code, output = doctor("resources.train.nodes=3", "resources.train.gpus_per_node=2")
    assert code == 0, output
    assert "ran on node1, node2, node3" in output and "✓ 2 GPUs on each node" in output
    assert "torch" in output and "GPUs: 0 on node1" in output
    code, output = doctor("resources.train.gpus_per_node=9", "--no-job")
    assert code == 1
    assert len(wrong(output)) == 1 and "jobs of train are refused" in wrong(output)[0]
    nothing_is_left(cluster, doctor.recipe)


def test_outside_of_a_recipe_the_folder_we_are_in_is_looked_at(cluster, doctor: Doctor, tmp_path: Path):
    doctor.recipe = tmp_path
    code, output = doctor("resources.train.partition=urgent")
    assert code == 0, output
    assert f"✓ all nodes see {tmp_path}; a file" in output and "min in partition urgent" in output
    assert not list(tmp_path.glob(".espnet3-doctor-*"))


def test_nodes_that_do_not_see_the_run_directory_are_found_out(cluster, doctor: Doctor):
    """The command lives in a mount namespace of its own, where a folder is another."""
    elsewhere = doctor.recipe / "exp"
    elsewhere.mkdir()

    def with_own(folder: Path) -> tuple[str, ...]:
        mount = f'cp -r "{folder}" "{folder}.copy" && mount --bind "{folder}.copy" "{folder}" && exec "$@"'
        return ("unshare", "--mount", "sh", "-c", mount, "sh")

    if subprocess.run([*with_own(elsewhere), "true"], check=False, capture_output=True).returncode:
        pytest.skip("no mount namespaces here")
    code, output = doctor(before=with_own(doctor.recipe / "conf"))
    assert code == 1
    assert [line.split(" does not see ")[1] for line in wrong(output)] == [
        f"{doctor.recipe}/conf/config.yaml as here:"
        " put the clone with the recipe on a file system that all nodes share"
    ] * 2
    code, output = doctor(before=with_own(elsewhere))
    assert code == 1
    (line,) = wrong(output)
    assert f"nothing it wrote can be seen in {elsewhere}: its nodes must share that folder" in line
    for folder in ("exp", "exp.copy", "conf.copy"):
        shutil.rmtree(doctor.recipe / folder)
    nothing_is_left(cluster, doctor.recipe)


def test_tasks_that_do_not_start_are_told_with_what_they_printed(cluster, doctor: Doctor):
    code, output = doctor("resources.train.python=\"/bin/sh -c 'echo no such image; exit 3'\"")
    assert code == 1
    assert "✗ nothing came from node1, node2" in output and "it printed: no such image" in output
    nothing_is_left(cluster, doctor.recipe)


def test_a_probe_that_does_not_start_in_time_is_cancelled(cluster, doctor: Doctor):
    code, output = doctor("--wait", "0.02", HELD)
    assert code == 1
    (line,) = wrong(output)
    assert "did not start within 0.02 min (PENDING JobHeldUser)" in line and "--wait MINUTES" in line
    nothing_is_left(cluster, doctor.recipe)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ctrl_c_cancels_the_probe(cluster, doctor: Doctor, until: Until, number: signal.Signals):
    process = doctor.start(HELD)
    until(lambda: cluster("squeue", "--noheader"), "the probe job")
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == 130
    nothing_is_left(cluster, doctor.recipe)


def test_a_dead_controller_is_told_and_nothing_else_is_tried(doctor: Doctor, tmp_path: Path):
    text = Path(doctor.environment["SLURM_CONF"]).read_text()
    dead = tmp_path / "slurm.conf"
    dead.write_text(text.replace("SlurmctldPort=", "SlurmctldPort=9"))
    doctor.environment["SLURM_CONF"] = str(dead)
    code, output = doctor()
    assert code == 1
    (line,) = wrong(output)
    assert "Slurm's controller does not answer" in line and line == output.splitlines()[-1]


def test_a_site_file_is_written_once_and_read(cluster, doctor: Doctor, run, tmp_path: Path):
    del doctor.environment["ESPNET3_SITE"]
    doctor.environment["XDG_CONFIG_HOME"] = str(tmp_path / "cfg")
    path = tmp_path / "cfg" / "espnet3" / "site.yaml"
    code, printed = doctor("--write-site", "-")
    assert code == 0 and not path.exists()
    assert yaml.safe_load(printed)["resources"].keys() == {"all", "prepare"}

    cluster("scontrol", "update", "partitionname=normal", "maxtime=60")
    try:
        code, output = doctor("--write-site")
        assert code == 0 and str(path) in output
        code, output = doctor("--no-job")
        assert code == 0, output
        assert f"✓ the site file {path} is read" in output
        code, output = run(doctor.recipe, "--cfg", "job", **{**doctor.environment, "ESPNET3_SITE": str(path)})
        assert code == 0 and output.count("timeout_min: 60\n") == 4
    finally:
        cluster("scontrol", "update", "partitionname=normal", "maxtime=unlimited")
    before = path.read_text()
    code, output = doctor("--write-site")
    assert code == 2 and output.count("\n") == 1 and "is there already" in output
    assert path.read_text() == before


def test_without_slurm_or_with_a_mistake_one_line_says_so(small_recipe: Path):
    doctor = Doctor(small_recipe, {**os.environ, "PATH": "/nowhere"})
    code, output = doctor()
    assert code == 1
    assert wrong(output) == [output.splitlines()[-1]] and "not on PATH" in output
    for arguments in (
        ("--write-site", "-"),
        ("--write-site", "resources.train.nodes=2"),
        ("--wait", "long"),
        ("--wait", "0"),
        ("--no-jobs",),
        ("resources.train.node=2",),
        ("--recipe", "/nowhere"),
    ):
        code, output = doctor(*arguments)
        assert code == 2 and output.count("\n") == 1 and output.startswith("espnet3: "), output
