"""A command that is refused leaves no folders behind, and takes none away."""

from pathlib import Path

import pytest

from espnet3.errors import UserError
from espnet3.launcher.planning.claims import hold_for_command
from espnet3.terminal.screen import Screen


def test_only_folders_that_were_made_are_removed(tmp_path: Path):
    above = tmp_path / "of-others"
    above.mkdir()
    with pytest.raises(UserError, match="refused"), hold_for_command(above / "sweeps" / "default", Screen()):
        raise UserError("refused")
    assert list(tmp_path.rglob("*")) == [above]
