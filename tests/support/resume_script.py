"""What the tests of resumes run in processes of their own; not a test.

    python resume_script.py DIRECTORY everywhere CASE...   as one of several ranks
    python resume_script.py DIRECTORY kills CASE RANKS     interrupt a training, again and again
    python resume_script.py DIRECTORY sizes CASE           change the number of ranks within an epoch

A rank is told which it is by RANK, WORLD_SIZE, RENDEZVOUS. Its answer, what `resumed_everywhere` found by
case, is DIRECTORY/rank-<r>.pt; the others' is DIRECTORY/answer.json.
"""

import sys

if __name__ == "__main__":  # workers of data loaders import this file too: it must cost nothing then
    import resume_commands

    resume_commands.main(*sys.argv[1:])
