"""Where the ranks of an attempt meet."""

import socket

from espnet3.launcher.rank.task import master_address
from espnet3.launcher.start.tasks import PORTS, free_port


def test_a_port_is_free_and_none_that_the_kernel_hands_out():
    port = free_port("7.0")
    assert port in PORTS
    with socket.socket() as taken:
        taken.bind(("", port))
        taken.listen()
        assert free_port("7.0") != port
    assert len({free_port(f"{job}.0") for job in range(20)}) > 15  # jobs that start at once look elsewhere


def test_ranks_meet_by_name_or_where_the_name_is_unknown_by_address():
    assert master_address({"MASTER_ADDR": "localhost", "MASTER_IP": "10.0.0.1"}) == "localhost"
    assert master_address({"MASTER_ADDR": "no-such-node.invalid", "MASTER_IP": "10.0.0.1"}) == "10.0.0.1"
