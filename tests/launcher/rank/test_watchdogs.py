"""Threads that ask a stage to stop."""

import signal
import subprocess
import sys
import time

from espnet3.launcher.rank.watch.watchdogs import stop_at_time
from espnet3.rundir.stop import TIME_LIMIT, StopFlag

IN_C_CODE = """
import hashlib, os, threading, time
from espnet3.launcher.rank.task import install_stop_signals
from espnet3.launcher.rank.watch.watchdogs import hear_stop_signals
from espnet3.rundir.stop import StopFlag

stop = StopFlag()
install_stop_signals(stop)
hear_stop_signals(stop)
child = os.fork()
if child == 0:
    os.kill(os.getpid(), 10)
    os._exit(0)
os.waitpid(child, 0)

def say():
    while not stop.is_set():
        time.sleep(0.01)
    print(stop.reason, flush=True)
    os._exit(75)

threading.Thread(target=say, daemon=True).start()
print("busy", flush=True)
hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)  # half an hour in C, which no handler interrupts
"""


def test_a_request_to_stop_is_heard_in_a_long_call_of_c_code_and_none_meant_for_a_child():
    with subprocess.Popen([sys.executable, "-c", IN_C_CODE], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "busy\n"
            process.send_signal(signal.SIGTERM)
            assert process.stdout.readline() == "SIGTERM\n"
            assert process.wait() == 75
        finally:
            process.kill()


def test_a_time_limit_that_was_raised_is_used(until):
    stop, limits = StopFlag(), [time.time() + 0.2, time.time() + 0.2]
    asked: list[float] = []

    def read_again() -> float:
        assert not stop.is_set()
        asked.append(time.time())
        return limits[len(asked) - 1]

    stop_at_time(time.time(), stop, read_again)
    until(stop.is_set, "the request to stop")
    assert stop.reason == TIME_LIMIT and len(asked) == 2 and asked[1] >= limits[0]
