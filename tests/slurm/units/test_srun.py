"""What srun prints about tasks that have ended."""

from espnet3.slurm.srun import killed_tasks

PRINTED = """\
srun: error: node1: tasks 0,3-4: Killed
srun: error: node2: task 7: Segmentation fault (core dumped)
srun: error: node2: task 5: Exited with exit code 1
slurmstepd: error: *** STEP 12.0 ON node1 CANCELLED AT 2026-11-24T15:01:25 ***
"""


def test_tasks_that_a_signal_has_ended_are_told_from_those_that_exited():
    assert killed_tasks(PRINTED) == {0, 3, 4, 7}
    assert killed_tasks("") == set()
