"""Python's own hook, run as it starts: a rank that a test starts is handed over to the fork server.

Tests have this folder on PYTHONPATH, and so have the commands, jobs and ranks that they start. Commands and
batch processes go on from here as ever. See `handover`.
"""

import os
import sys

if os.environ.get("ESPNET3_FORKSERVER"):
    import handover

    if handover.is_rank(sys.orig_argv[1:]):
        handover.hand_over(os.environ["ESPNET3_FORKSERVER"])
