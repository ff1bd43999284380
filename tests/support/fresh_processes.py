"""The command line with ranks that are fresh processes, for comparison; not a test."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from signal import Signals

from espnet3.__main__ import main
from espnet3.launcher.rank.process_exit import exit_after
from espnet3.launcher.rank.task import main_here
from espnet3.launcher.rank.warm.warm_process import ForkRequest
from espnet3.launcher.start import local
from espnet3.resources import Resources


class FreshProcesses:
    """As a warm process, but each of its forks is a process that is started."""

    log = Path("/dev/null")

    def __init__(self, resources: Resources) -> None:
        self.exits: dict[int, int] = {}

    def fork(self, request: ForkRequest) -> range:
        self.processes = [
            subprocess.Popen(
                [sys.executable, "-u", "-m", "fresh_processes", "--rank", *words],
                env=dict(request.environment),
                stdin=subprocess.DEVNULL,
                stdout=os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND),
                stderr=subprocess.STDOUT,
                process_group=0,
            )
            for words, output in zip(request.arguments, request.output, strict=True)
        ]
        return range(len(self.processes))

    def is_alive(self) -> bool:
        return True

    def read_exits(self) -> None:
        codes = {number: process.poll() for number, process in enumerate(self.processes)}
        self.exits = {number: code for number, code in codes.items() if code is not None}

    def send_signal(self, fork: int, number: Signals) -> None:
        self.processes[fork].send_signal(number)

    def end(self) -> None:
        for process in self.processes:
            process.wait()


if __name__ == "__main__":
    if sys.argv[1] == "--rank":
        exit_after(partial(main_here, *sys.argv[2:]))
    local.warm_process = FreshProcesses
    sys.exit(main(sys.argv[1:]))
