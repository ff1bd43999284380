"""What sacct says of the starts of a job: one that has lost a node has two rows, and is one start."""

from datetime import datetime
from pathlib import Path

from espnet3.slurm.accounting import StartTimes, states_by_start, times_by_start

SACCT = """#!/bin/sh
case "$*" in
*Submit*) cat <<END
7|RESIZING|2026-01-01T10:00:00|2026-01-01T10:01:00|2026-01-01T10:05:00
7|REQUEUED|2026-01-01T10:00:00|2026-01-01T10:05:00|2026-01-01T10:09:00
7|RUNNING|2026-01-01T10:09:00|2026-01-01T10:10:00|Unknown
END
;;
*) printf '7|RESIZING\\n7|REQUEUED\\n7|RUNNING\\n' ;;
esac
"""


def at(minute: int) -> float:
    return datetime(2026, 1, 1, 10, minute).timestamp()


def test_a_start_that_has_lost_a_node_goes_on_in_the_next_row(tmp_path: Path, monkeypatch):
    sacct = tmp_path / "sacct"
    sacct.write_text(SACCT)
    sacct.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert states_by_start(["7"]) == {"7.0": "REQUEUED", "7.1": "RUNNING"}
    assert times_by_start(["7"]) == {
        "7.0": StartTimes(at(0), at(1), at(9)),
        "7.1": StartTimes(at(9), at(10), None),
    }
