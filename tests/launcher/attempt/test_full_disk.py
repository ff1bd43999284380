"""A full disk while a command writes its own records: one line, nothing half-written, nothing lost."""

import errno
import os
from pathlib import Path

import pytest

from espnet3.__main__ import main


@pytest.mark.parametrize("written", [0, 1, 2, 3])
def test_the_file_is_named_and_the_same_command_does_all_when_there_is_room(
    small_recipe: Path, written: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    command = ["run", "--recipe", str(small_recipe), "--stop-stage", "0"]
    fsync, calls = os.fsync, []

    def full(descriptor: int) -> None:
        if os.path.isfile(f"/proc/self/fd/{descriptor}"):  # noqa: PTH113
            calls.append(descriptor)
            if len(calls) > written:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        code = main(command)
    error = capsys.readouterr().err
    assert code in (1, 2) and len(error.splitlines()) == 1
    assert error.startswith("espnet3: ") and "No space left on device" in error and ".json" in error
    assert not [
        path
        for path in small_recipe.rglob("*")
        if path.name.startswith((".claim", "claim")) or ".tmp" in path.name
    ]

    assert main(command) == 0
    assert (small_recipe / "data" / "train.jsonl").is_file()
