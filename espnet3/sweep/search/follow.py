"""`espnet3 logs -f` of a search that runs as a job: its output, until it has ended."""

import time
from pathlib import Path

from espnet3.launcher.follow.jobs import DETACHED_BY_CTRL_C, QUEUE_EVERY_S, print_commands
from espnet3.rundir.files.log_tail import LogTail
from espnet3.slurm.command import SlurmAway
from espnet3.sweep.run import follow
from espnet3.sweep.show.searcher import LOG, find_searcher
from espnet3.sweep.trials.search_record import search_dir
from espnet3.terminal.screen import Screen

_POLL_S = 0.2


def follow_search(sweep: Path, screen: Screen) -> int | None:
    """Show the job's output while it is in the queue, then follow the trials.

    Returns:
        The exit code; None if there is no searching job.

    Raises:
        UserError: Slurm can't be asked.
    """
    if find_searcher(sweep) is None:
        return None
    tail = LogTail(search_dir(sweep) / LOG)
    try:
        while _is_queued(sweep):
            until = time.monotonic() + QUEUE_EVERY_S[0]
            while time.monotonic() < until:
                for line in tail.lines():
                    screen.line(line)
                time.sleep(_POLL_S)
    except KeyboardInterrupt:
        screen.line("detached: the search goes on")
        print_commands(sweep, screen)
        return DETACHED_BY_CTRL_C
    for line in [*tail.lines(), *tail.rest()]:
        screen.line(line)
    return follow(sweep, [], screen, show=False)


def _is_queued(sweep: Path) -> bool:
    try:
        return find_searcher(sweep) is not None
    except SlurmAway:
        return True
