"""The commands that a detached command leaves behind."""

import shlex
from pathlib import Path

import pytest

from espnet3.launcher.follow.jobs import print_commands
from espnet3.terminal.screen import Screen


def test_each_command_is_a_line_that_can_be_copied_into_a_shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    print_commands(tmp_path / "new comer" / "exp", Screen())
    commands = [line.split("`")[1] for line in capsys.readouterr().out.splitlines()]
    assert [shlex.split(command)[1:] for command in commands] == [
        ["logs", "-f", "new comer/exp"],
        ["status", "new comer/exp"],
        ["cancel", "new comer/exp"],
    ]
