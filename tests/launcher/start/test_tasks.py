"""Where the ranks of an attempt meet."""

import socket

from espnet3.launcher.rank.lost_peer import is_lost_peer
from espnet3.launcher.rank.task import meeting_place
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
    assert meeting_place({"MASTER_ADDR": "localhost", "MASTER_IP": "10.0.0.1"}) == "localhost"
    assert meeting_place({"MASTER_ADDR": "no-such-node.invalid", "MASTER_IP": "10.0.0.1"}) == "10.0.0.1"


def test_a_lost_peer_is_told_from_an_error_of_the_users():
    gloo = "[gloo/transport/tcp/pair.cc:553] Connection closed by peer [127.0.0.1]:45781."
    assert is_lost_peer(RuntimeError(gloo))
    try:
        try:
            raise RuntimeError(gloo)
        except RuntimeError as error:
            raise ValueError("while saving") from error
    except ValueError as error:
        assert is_lost_peer(error)
    assert not is_lost_peer(ValueError("connection closed by peer is a phrase"))
    assert not is_lost_peer(RuntimeError("shape mismatch"))
