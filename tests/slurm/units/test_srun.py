"""What srun prints: tasks that a signal has ended, and why it can't start tasks.

Mistakes stay mistakes, and a sick node may be well again.
"""

import pytest

from espnet3.slurm.srun import killed_tasks, start_error

PRINTED = """\
srun: error: node1: tasks 0,3-4: Killed
srun: error: node2: task 7: Segmentation fault (core dumped)
srun: error: node2: task 9: Out Of Memory
srun: error: node2: task 5: Exited with exit code 1
slurmstepd: error: *** STEP 12.0 ON node1 CANCELLED AT 2026-11-24T15:01:25 ***
"""


def test_tasks_that_a_signal_has_ended_are_told_from_those_that_exited():
    killed = {0: "SIGKILL", 3: "SIGKILL", 4: "SIGKILL", 7: "SIGSEGV", 9: "out of memory"}
    assert killed_tasks(PRINTED) == killed
    assert killed_tasks("") == {}


@pytest.mark.parametrize(
    "line",
    [
        "slurmstepd: error: execve(): nothing_here: No such file or directory",
        "slurmstepd: error: execve(): /home/me/python: Permission denied",
        "srun: unrecognized option '--bogus'",
        "srun: error: Invalid --cpu-bind argument: nonsense",
        "env: nothing_here: No such file or directory",
        "bash: line 1: apptainer: command not found",
        "srun: error: node1: task 0: Exited with exit code 127",
    ],
)
def test_a_wrong_program_or_option(line: str):
    assert start_error(["srun: something else", line, "more"]) == line


@pytest.mark.parametrize(
    "line",
    [
        "srun: error: node1: task 0: Killed",
        "srun: error: Node failure on node1",
        "srun: error: Unable to create step for job 7: Socket timed out on send/recv operation",
        "slurmstepd: error: Could not open stdout file /x/early-0.log: No such file or directory",
        "slurmstepd: error: couldn't chdir to `/x': No such file or directory: going to /tmp instead",
        "srun: error: node1: task 0: Exited with exit code 1",
        "srun: error: Task launch for StepId=7.0 failed on node node1: Invalid job credential",
    ],
)
def test_what_may_be_well_at_the_next_attempt(line: str):
    assert start_error([line]) == ""
