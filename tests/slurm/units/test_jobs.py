"""What jobs wait for, when a follow-up job takes the place of another."""

import pytest

from espnet3.slurm import jobs

PENDING = """\
20|afterok:12(unfulfilled)
21|afterok:112(unfulfilled),afterok:120(unfulfilled)
22|afterany:7(unfulfilled),afterok:12_*(unfulfilled)
22|afterany:7(unfulfilled),afterok:12_*(unfulfilled)
23|(null)
30|afterany:12(unfulfilled)
"""


def test_jobs_that_wait_for_a_job_wait_for_the_one_that_follows_it(monkeypatch: pytest.MonkeyPatch):
    asked: list[str] = []

    def ask(command: list[str]) -> str:
        asked.append(" ".join(command))
        return PENDING if command[0] == "squeue" else ""

    monkeypatch.setattr(jobs, "ask", ask)
    jobs.wait_for_another("12", "30")
    assert asked[1:] == [
        "scontrol update JobId=20 Dependency=afterok:30",
        "scontrol update JobId=22 Dependency=afterany:7,afterok:30",
    ]
