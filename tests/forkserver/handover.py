"""The process that was started for a rank: lets a fork of the server be the rank, and stands for it.

What it was started with (arguments, environment, folder, standard streams, what it does about signals) the
fork gets. From then on signals are passed on, and both end together: this process exits or dies as the fork
does, and a fork whose process is killed is killed. Without pathlib, which would be one more import.
"""
# ruff: noqa: PTH100, PTH109, PTH120

import json
import os
import select
import signal
import socket
import struct
import sys

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PASSED_ON = (
    *(signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM),
    *(signal.SIGUSR1, signal.SIGUSR2, signal.SIGCONT),
)


def is_rank(arguments: list[str]) -> bool:
    """Whether Python's arguments start a rank, by the launcher's entry or a script of the tests.

    The check of the data imports the same.
    """
    while arguments and arguments[0] in ("-u", "-B"):
        arguments = arguments[1:]
    if not arguments or not _has_this_package():
        return False
    if arguments[0] == "-m":
        module = arguments[1]
        return module == "espnet3.stages.check_data" or (
            module.startswith("espnet3.") and module.endswith(".entry")
        )
    return arguments[0].startswith(f"{TESTS}{os.sep}")


def _has_this_package() -> bool:
    """Whether a fork of the server has the espnet3 that this process would import: not so in a clone."""
    # An editable installation leaves a folder of this name in site-packages, which holds data files only.
    files = (f"{folder}/espnet3/__init__.py" for folder in (os.getcwd(), *sys.path))
    return next(filter(os.path.isfile, files), "") == f"{os.path.dirname(TESTS)}/espnet3/__init__.py"


def hand_over(address: str) -> None:
    """Become the process that stands for a fork; returns only if no server is there any more.

    Args:
        address: the server's socket.
    """
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)
    heard = [number for number in PASSED_ON if signal.getsignal(number) != signal.SIG_IGN]
    server = socket.socket(socket.AF_UNIX)
    try:
        server.connect(address)
    except OSError:  # a job that has outlived its test
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        return
    umask = os.umask(0)
    os.umask(umask)
    request = json.dumps(
        {
            "arguments": sys.orig_argv,
            "environment": dict(os.environ),
            "folder": os.getcwd(),
            "umask": umask,
            "path": sys.path,
            "ignored": sorted(set(PASSED_ON) - set(heard)),
            "blocked": sorted(blocked),
        }
    ).encode()
    socket.send_fds(server, [struct.pack("!I", len(request))], [0, 1, 2])
    server.sendall(request)
    server.setblocking(False)
    for number in heard:
        signal.signal(number, lambda *_: None)
    signal.set_wakeup_fd(server.fileno())  # Python writes the number of each signal to the server
    signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    select.select([server], [], [])
    try:
        (status,) = struct.unpack("!i", server.recv(4))
    except (OSError, struct.error):  # the server is gone, and its forks with it
        status = -signal.SIGKILL
    if status >= 0:
        os._exit(status)
    if -status != signal.SIGKILL:
        signal.signal(-status, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [-status])
    os.kill(os.getpid(), -status)
