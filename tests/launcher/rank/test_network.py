"""Ranks of several nodes meet, whatever a host's own name resolves to."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from espnet3.launcher.rank.network import interface_environment, master_address, route_interface

ROUTES = """\
Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT
eth0\t00000000\t0100A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0
docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0
ib0\t0000000A\t00000000\t0001\t0\t0\t0\t000000FF\t0\t0\t0
"""
IPV6_ROUTES = """\
fd010000000000000000000000000000 40 {0} 00 {0} 00000100 00000001 00000000 00000001 ib0
{0} 00 {0} 00 fd000000000000000000000000000001 00000400 00000002 00000000 00000003 eth0
fd010000000000000000000000000002 80 {0} 00 {0} 00000000 00000003 00000000 80200001 lo
""".format("0" * 32)
RANK = """
import os, sys
import torch
import torch.distributed as dist
from espnet3.launcher.rank.network import master_address, set_interfaces

rank, given = sys.argv[1], {"MASTER_ADDR": "node1", "MASTER_IP": "10.77.0.1"}
master = master_address(given, 2)
set_interfaces(master, 2)
os.environ.update(MASTER_ADDR=master, MASTER_PORT="29517", RANK=rank, WORLD_SIZE="2")
dist.init_process_group("gloo")
total = torch.ones(1)
dist.all_reduce(total)
dist.destroy_process_group()
print(os.environ["GLOO_SOCKET_IFNAME"], os.environ["NCCL_SOCKET_IFNAME"], int(total))
"""


def test_the_route_to_the_first_rank_says_which_interface():
    assert route_interface("10.3.4.5", ROUTES, "") == "ib0"
    assert route_interface("172.17.0.9", ROUTES, "") == "docker0"
    assert route_interface("8.8.8.8", ROUTES, "") == "eth0"
    assert route_interface("fd01::2", ROUTES, IPV6_ROUTES) == "ib0", "a node's own address, too"
    assert route_interface("fd02::2", ROUTES, IPV6_ROUTES) == "eth0"
    assert route_interface("10.3.4.5", "", "") == ""


def test_ranks_meet_by_name_or_where_the_name_says_nothing_by_address():
    unknown = {"MASTER_ADDR": "no-such-node.invalid", "MASTER_IP": "10.0.0.1"}
    own = {"MASTER_ADDR": "localhost", "MASTER_IP": "10.0.0.1"}
    assert master_address(unknown, 1) == master_address(unknown, 2) == "10.0.0.1"
    assert (master_address(own, 1), master_address(own, 2)) == ("localhost", "10.0.0.1")
    assert master_address({"MASTER_ADDR": "localhost"}, 2) == "localhost"


def test_what_the_user_has_chosen_stays():
    assert interface_environment("127.0.0.1", 2, {}) == {}, "all on one machine"
    assert interface_environment("10.0.0.1", 1, {}) == {}
    chosen = dict.fromkeys(("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"), "ib0")
    assert interface_environment("10.0.0.1", 2, chosen) == {}


@pytest.fixture
def two_hosts() -> Iterator[list[str]]:
    """Network namespaces of two hosts, each of which has its own name as 127.0.1.1, as on Debian."""
    names = [f"espnet3-{os.getpid()}-{number}" for number in (1, 2)]
    files = [Path("/etc/netns") / name for name in names]

    def call(*words: str) -> bool:
        return subprocess.run(words, capture_output=True, check=False).returncode == 0

    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    try:
        assert all(call("ip", "netns", "add", name) for name in names)
        first, second = names
        assert call("ip", "-n", first, "link", "add", "wire", "type", "veth", "peer", "wire", "netns", second)
        for number, (name, file) in enumerate(zip(names, files, strict=True), start=1):
            assert call("ip", "-n", name, "address", "add", f"10.77.0.{number}/24", "dev", "wire")
            assert call("ip", "-n", name, "link", "set", "wire", "up")
            assert call("ip", "-n", name, "link", "set", "lo", "up")
            file.mkdir(parents=True)
            other = 3 - number
            (file / "hosts").write_text(
                f"127.0.0.1 localhost\n127.0.1.1 node{number}\n10.77.0.{other} node{other}\n"
            )
        yield names
    finally:
        for name, file in zip(names, files, strict=True):
            call("ip", "netns", "del", name)
            call("rm", "-r", str(file))


@pytest.mark.slow
def test_gloo_connects_hosts_whose_own_names_are_loopback(two_hosts: list[str], tmp_path: Path):
    (tmp_path / "rank.py").write_text(RANK)
    kept = {key: value for key, value in os.environ.items() if not key.endswith("_SOCKET_IFNAME")}
    ranks = [
        subprocess.Popen(
            ["ip", "netns", "exec", name, "unshare", "--uts", "sh", "-c", 'hostname $0; exec "$@"',
             f"node{rank + 1}", sys.executable, str(tmp_path / "rank.py"), str(rank)],
            env=kept, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for rank, name in enumerate(two_hosts)
    ]  # fmt: skip
    try:
        outputs = [rank.communicate(timeout=240)[0] for rank in ranks]
        assert [output.splitlines()[-1] for output in outputs] == ["wire =wire 2"] * 2, outputs
    finally:
        for rank in ranks:
            rank.kill()
