"""Signals to the process that watches stages."""

import os
import signal

from espnet3.launch.interrupts import Interrupts


def test_what_is_entered_around_another_hears_of_a_signal_too():
    with Interrupts(insistent=False) as around:
        with Interrupts(insistent=False) as inside:
            os.kill(os.getpid(), signal.SIGUSR2)
            assert around.stop.reason == inside.stop.reason == "SIGUSR2"
        with Interrupts(insistent=False) as later:
            os.kill(os.getpid(), signal.SIGTERM)
            assert later.stop.reason == "SIGTERM" and around.stop.reason == "SIGUSR2"
