"""Signals to the process that watches stages."""

import os
import signal
import threading

from espnet3.launcher.rank.interrupts import StopSignals, block


def test_what_is_entered_around_another_hears_of_a_signal_too():
    with StopSignals(second_ctrl_c_raises=False) as around:
        with StopSignals(second_ctrl_c_raises=False) as inside:
            os.kill(os.getpid(), signal.SIGUSR2)
            assert around.stop.reason == inside.stop.reason == "SIGUSR2"
        with StopSignals(second_ctrl_c_raises=False) as later:  # has been asked, by the first signal
            os.kill(os.getpid(), signal.SIGTERM)
            assert later.stop.reason == around.stop.reason == "SIGUSR2"


def test_signals_that_were_blocked_come_when_they_are_handled():
    block()
    # To this thread: pytest's workers have others, which do not block it.
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
    with StopSignals(second_ctrl_c_raises=False) as interrupts:
        assert interrupts.stop.reason == "SIGTERM"
