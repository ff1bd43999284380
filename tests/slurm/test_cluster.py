"""The cluster of tools/slurm is a real one: it runs, accounts, preempts, survives, and leaves nothing."""

import os
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("fresh_ranks")]

Until = Callable[[Callable[[], object], str], None]
# A child that leaves the job's session, as daemons do; the script goes on when it has noted its pid.
RUNAWAY = "setsid sh -c 'echo $$ > runaway; exec sleep 600' & while [ ! -s runaway ]; do sleep 0.05; done"


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def mentioned(folder: Path) -> list[str]:
    """Command lines of the processes that name the folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if f"{folder}/" in line or f"{folder} " in line:
            found.append(line)
    return found


def test_four_tasks_on_two_nodes_complete_and_sacct_says_so(cluster, tmp_path, until: Until):
    out = tmp_path / "out"
    program = "srun sh -c 'echo $SLURM_PROCID on $SLURMD_NODENAME'"
    job = cluster.submit(program, "--wait", "-N2", "-n4", "--ntasks-per-node=2", f"--output={out}")
    ranks, nodes = zip(*(line.split(" on ") for line in sorted(out.read_text().splitlines())), strict=True)
    assert ranks == ("0", "1", "2", "3") and nodes[0] == nodes[1] != nodes[2] == nodes[3]
    until(lambda: cluster.accounted(job) == ["COMPLETED"], "sacct to know the job's end")


def test_a_failing_rank_makes_the_job_failed(cluster, until: Until):
    job = cluster.submit("srun sh -c 'exit $SLURM_PROCID'", "-N2", "-n2", "--output=/dev/null")
    until(lambda: cluster.accounted(job) == ["FAILED"], "sacct to know the failure")


def test_node_names_resolve_to_this_machine(cluster):
    assert [socket.gethostbyname(f"node{index}") for index in (1, 2, 3, 4)] == ["127.0.0.1"] * 4


def test_jobs_on_one_node_get_different_gpus_and_never_more_than_there_are(cluster, tmp_path, until: Until):
    first, second = tmp_path / "first", tmp_path / "second"
    options = ("-w", "node1", "--gpus-per-node=2")
    cluster.submit("echo $CUDA_VISIBLE_DEVICES; sleep 600", *options, f"--output={first}")
    until(lambda: first.exists() and first.read_text(), "the first job")
    cluster.submit("echo $CUDA_VISIBLE_DEVICES", "--wait", *options, f"--output={second}")
    assert (first.read_text(), second.read_text()) == ("0,1\n", "2,3\n")
    with pytest.raises(AssertionError, match="Requested node configuration is not available"):
        cluster.submit("true", "--gpus-per-node=5")


def test_an_urgent_job_preempts_a_normal_one_which_runs_again(cluster, tmp_path, until: Until):
    out = tmp_path / "out"
    whole = ("-N4", "--gpus-per-node=4")
    script = "echo run ${SLURM_RESTART_COUNT:-0}; sleep 600"
    job = cluster.submit(script, *whole, "--requeue", "--open-mode=append", f"--output={out}")
    until(lambda: out.exists() and "run 0" in out.read_text(), "the normal job")
    urgent = cluster.submit("true", "--wait", "--partition=urgent", *whole, "--output=/dev/null")
    until(lambda: "run 1" in out.read_text(), "the normal job to run again")
    until(lambda: cluster.accounted(urgent) == ["COMPLETED"], "sacct to know the urgent job")
    assert cluster.accounted(job)[0] == "PREEMPTED"


def test_a_killed_node_takes_its_processes_along_its_job_runs_elsewhere_and_it_can_be_revived(
    cluster, tmp_path, until: Until
):
    out = tmp_path / "out"
    script = f"{RUNAWAY}; echo run ${{SLURM_RESTART_COUNT:-0}} $SLURMD_NODENAME; srun sleep 600"
    options = ("-N2", "-n2", "--requeue", "--open-mode=append", f"--chdir={tmp_path}", f"--output={out}")
    job = cluster.submit(script, *options)
    until(lambda: out.exists() and "run 0" in out.read_text(), "the job")
    victim = out.read_text().split()[2]
    runaway = int((tmp_path / "runaway").read_text())
    assert alive(runaway)

    done = cluster.tool("kill-node", victim)
    assert done.returncode == 0, done.stderr
    assert not alive(runaway)
    status = cluster.tool("status")
    assert status.returncode == 1
    assert victim not in cluster.pids()

    until(lambda: "run 1" in out.read_text(), "the job to run on another node")
    assert f"run 1 {victim}" not in out.read_text()
    assert cluster.accounted(job)[0] == "NODE_FAIL"

    done = cluster.tool("revive-node", victim)
    assert done.returncode == 0, done.stderr
    assert cluster("srun", "-w", victim, "-N1", "printenv", "SLURMD_NODENAME") == victim


def test_up_changes_nothing_that_runs_and_restarts_what_ended(cluster, tmp_path, until: Until):
    begun, go = tmp_path / "begun", tmp_path / "go"
    script = f"touch {begun}; while [ ! -e {go} ]; do sleep 0.1; done"
    job = cluster.submit(script, "--output=/dev/null")
    until(begun.exists, "the job")
    before = cluster.pids()
    cluster.up()
    assert cluster.pids() == before

    # Not SIGKILL: it would forget what it hadn't saved in the last seconds, and start the job again.
    os.kill(before["slurmctld"], signal.SIGTERM)
    until(lambda: "slurmctld" not in cluster.pids(), "slurmctld to end")
    cluster.up()
    after = cluster.pids()
    assert after.pop("slurmctld") != before.pop("slurmctld")
    assert after == before
    go.touch()
    until(lambda: cluster.accounted(job) == ["COMPLETED"], "the job to go through all of it")


def test_another_size_is_refused(cluster):
    done = cluster.tool("up", "--nodes", "3")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "has 4 nodes, not 3" in done.stderr


def test_a_second_cluster_survives_a_killed_up_and_leaves_nothing_after_down(cluster, tmp_path, until: Until):
    second = type(cluster)(cluster.folder.with_name(f"{cluster.folder.name}-2"))
    try:
        command = [str(Path(__file__).parents[2] / "tools" / "slurm" / "cluster"), "up", "--nodes", "2"]
        half = subprocess.Popen(command, env=second.environment)
        until((second.folder / "log" / "slurmdbd.out").exists, "the first half of up")
        half.kill()
        half.wait()
        second.up()
        assert set(second.pids()) == {"munged", "mariadbd", "slurmdbd", "slurmctld", "node1", "node2"}
        assert second.folder.stat().st_mode & 0o777 == 0o700

        second.submit(f"{RUNAWAY}; touch begun; srun sleep 600", f"--chdir={tmp_path}", "--output=/dev/null")
        until((tmp_path / "begun").exists, "the job")
        runaway = int((tmp_path / "runaway").read_text())
        assert alive(runaway)
    finally:
        done = second.tool("down")
    assert done.returncode == 0, done.stderr
    assert not alive(runaway)
    assert mentioned(second.folder) == []
    assert not second.folder.exists()
    assert f"{second.folder}\n" not in Path("/etc/hosts").read_text()

    again = second.tool("down")
    assert (again.returncode, again.stdout) == (0, f"no cluster in {second.folder}\n")
    assert "node1" in cluster.pids()
    assert "idle" in cluster("sinfo", "--noheader")
