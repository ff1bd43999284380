"""Run one daemon so that whatever it starts stays below this process, and reap what ends.

supervise.py FOLDER NAME COMMAND...: Slurm's job steps detach from slurmd; with Linux's child subreaper they
become children of this process instead of init's, so a node is one tree of processes, which can be ended as a
whole. Later commands identify this process by its arguments.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36


def main() -> None:
    """Start the daemon; end when it and all its descendants have ended."""
    command = sys.argv[3:]
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    if os.fork() == 0:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        try:
            os.execvp(command[0], command)
        except OSError as error:
            print(f"error: {command[0]}: {error.strerror}", file=sys.stderr, flush=True)
            os._exit(127)
    while True:
        try:
            os.wait()
        except ChildProcessError:
            return


if __name__ == "__main__":
    main()
