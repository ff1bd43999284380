"""The port where the ranks of an attempt meet."""

import socket

from espnet3.launcher.start.tasks import PORTS, free_port


def test_a_port_is_free_and_none_that_the_kernel_hands_out():
    port = free_port("7.0")
    assert port in PORTS
    with socket.socket() as taken:
        taken.bind(("", port))
        taken.listen()
        assert free_port("7.0") != port
    assert len({free_port(f"{job}.0") for job in range(20)}) > 15  # jobs that start at once look elsewhere
