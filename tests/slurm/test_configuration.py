"""The texts that a cluster is made of, and what a person is told before anything starts."""

from pathlib import Path

import pytest
from localcluster import hosts, packages, settings
from localcluster.configuration import configuration_files, exports, gres_conf, slurm_conf
from localcluster.controller import parse_nodes
from localcluster.daemons import daemons
from localcluster.failure import ClusterError
from localcluster.folder import locked
from localcluster.operations import last_error
from localcluster.settings import Cluster, choose_folder

SMALL = Cluster(Path("/private/place"), "ann", (11, 12, 13, 14), nodes=2, gpus=2, cpus=6)


def test_slurm_conf_names_every_node_with_its_port_and_what_it_claims():
    lines = slurm_conf(SMALL).splitlines()
    claims = "CPUs=6 RealMemory=64000 Gres=gpu:2 State=UNKNOWN"
    assert f"NodeName=node1 NodeHostname=localhost NodeAddr=127.0.0.1 Port=13 {claims}" in lines
    assert f"NodeName=node2 NodeHostname=localhost NodeAddr=127.0.0.1 Port=14 {claims}" in lines
    assert {"SlurmctldPort=11", "AccountingStoragePort=12", "SlurmUser=ann"} <= set(lines)


def test_the_urgent_partition_stands_above_the_normal_one_which_is_requeued():
    normal, urgent = (line for line in slurm_conf(SMALL).splitlines() if line.startswith("PartitionName="))
    assert normal == "PartitionName=normal Nodes=ALL Default=YES PriorityTier=1 PreemptMode=REQUEUE"
    assert urgent == "PartitionName=urgent Nodes=ALL PriorityTier=10 PreemptMode=OFF"


def test_gpus_are_files_that_end_in_their_index_and_may_be_none():
    gpus = "/private/place/gpu/gpu0,/private/place/gpu/gpu1"
    assert gres_conf(SMALL) == f"AutoDetect=off\nNodeName=node1,node2 Name=gpu File={gpus}\n"
    none = Cluster(SMALL.folder, "ann", SMALL.ports, nodes=2, gpus=0)
    assert gres_conf(none) == "AutoDetect=off\n"


def test_every_path_lies_in_the_private_folder():
    texts = [exports(SMALL), *configuration_files(SMALL).values()]
    texts += [" ".join(daemon.command) for daemon in daemons(SMALL)]
    paths = {
        word for text in texts for word in text.replace("=", " ").replace(",", " ").split() if word[0] == "/"
    }
    assert {path for path in paths if not path.startswith("/private/place/")} == {
        "/private/place",
        "/bin/true",
    }


def test_daemons_start_after_those_they_need():
    started: set[str] = set()
    for daemon in daemons(SMALL):
        assert started >= set(daemon.after)
        started.add(daemon.name)
    assert started == {"munged", "mariadbd", "slurmdbd", "slurmctld", "node1", "node2"}


@pytest.mark.parametrize(
    "text", ["", "127.0.0.1 localhost\n", "127.0.0.1 localhost", "10.0.0.1 a # mine\n\n"]
)
def test_the_hosts_file_is_as_before_when_the_names_are_taken_out(text: str):
    one = hosts.with_names(text, ["node1", "node2"], Path("/a"))
    two = hosts.with_names(one, ["node1"], Path("/a/b"))
    assert hosts.with_names(two, ["node1"], Path("/a/b")) == two
    assert two.endswith("127.0.0.1 node1 # espnet3 slurm cluster in /a/b\n")
    assert hosts.without_names(two, Path("/a/b")) == one
    assert hosts.without_names(one, Path("/a")).rstrip("\n") == text.rstrip("\n")


def test_the_folder_is_the_one_asked_for_or_one_of_this_user(tmp_path: Path):
    uid = tmp_path.stat().st_uid
    assert choose_folder({}, 7) == Path("/tmp/espnet3-slurm-7")
    assert choose_folder({"ESPNET3_SLURM_DIR": "/x/y"}, 7) == Path("/x/y")
    runtime = tmp_path.parents[1]
    assert choose_folder({"XDG_RUNTIME_DIR": str(runtime)}, uid) == runtime / "espnet3-slurm"
    assert choose_folder({"XDG_RUNTIME_DIR": str(runtime)}, uid + 1) == Path(f"/tmp/espnet3-slurm-{uid + 1}")
    with pytest.raises(ClusterError, match="at most 66 characters"):
        choose_folder({"ESPNET3_SLURM_DIR": "/x" * 40}, 7)


def test_a_folder_with_other_things_in_it_is_left_alone(tmp_path: Path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ClusterError, match="holds files other than a cluster"), locked(tmp_path):
        pytest.fail("was locked")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_record_is_read_back(tmp_path: Path):
    cluster = Cluster(tmp_path, "ann", settings.free_ports(6), "boot", gpus=1)
    assert settings.load(tmp_path) is None
    settings.save(cluster)
    assert settings.load(tmp_path) == cluster


def test_nodes_are_usable_unless_down_or_silent():
    text = (
        "NodeName=node1 Arch=x86_64 State=IDLE SlurmdStartTime=1700000000 Comment=(null)\n"
        "NodeName=node2 State=DOWN+NOT_RESPONDING SlurmdStartTime=None Reason=Not responding [root@17]\n"
        "NodeName=node3 State=MIXED+DRAIN SlurmdStartTime=1700000002 Reason=State=DOWN soon [ann@18]\n"
    )
    nodes = parse_nodes(text)
    assert [node.usable for node in nodes.values()] == [True, False, True]
    assert (nodes["node1"].started, nodes["node2"].started) == (1700000000, 0)
    assert nodes["node2"].reason == "Not responding [root@17]"


def test_of_a_log_the_fatal_line_is_shown_else_the_last_error(tmp_path: Path):
    cluster = Cluster(tmp_path, "ann", (1, 2, 3), nodes=1)
    assert last_error(cluster, "node1") == "it wrote no log"
    (tmp_path / "log").mkdir()
    cluster.log("node1").write_text("starting\nerror: no gpu\nerror: no port\nstopping\n")
    assert last_error(cluster, "node1") == "error: no port"
    cluster.log("node1").write_text("fatal: no key\nerror: bye\n")
    assert last_error(cluster, "node1") == "fatal: no key"


def test_without_root_the_missing_packages_are_named_in_one_line(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(packages, "PROGRAMS", ("sh", "no-such-daemon"))
    monkeypatch.setattr(packages.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(
        packages.shutil, "which", lambda name, path=None: None if name == "no-such-daemon" else name
    )
    with pytest.raises(
        ClusterError, match="missing: no-such-daemon; run as root: tools/slurm/cluster install"
    ) as error:
        packages.install()
    assert error.value.code == 2 and "\n" not in str(error.value)
