"""Commands of Slurm that are small scripts, first on PATH: they keep what was called."""

from pathlib import Path

import pytest

COMMAND = """\
#!/bin/bash
echo "$(basename "$0") $*" >> {folder}/called
env > {folder}/environment
cat {folder}/"$(basename "$0")".says 2>/dev/null
[ ! -e {folder}/"$(basename "$0")".fails ] || {{ cat {folder}/"$(basename "$0")".fails >&2; exit 1; }}
"""


class FakeSlurm:
    """What squeue, sacct, sbatch, scancel answer."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "bin").mkdir()
        for name in ("squeue", "sacct", "sbatch", "scancel"):
            script = folder / "bin" / name
            script.write_text(COMMAND.format(folder=folder))
            script.chmod(0o755)

    def says(self, command: str, text: str) -> None:
        """`command` prints `text` from now on."""
        (self.folder / f"{command}.says").write_text(text)

    def fails(self, command: str, message: str) -> None:
        """`command` fails from now on."""
        (self.folder / f"{command}.fails").write_text(message)

    @property
    def called(self) -> list[str]:
        """Every command line so far."""
        path = self.folder / "called"
        return path.read_text().splitlines() if path.exists() else []

    def queue(self, job_id: str, state: str, comment: str = "", reason: str = "None") -> None:
        """A job as squeue shows it, the only one."""
        self.says("squeue", f"{job_id}|{state}|{reason}|n1|2026-01-01T00:00:00|{comment}\n")


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    folder = tmp_path / "slurm"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder / 'bin'}:/usr/bin:/bin")
    return FakeSlurm(folder)
