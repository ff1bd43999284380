"""What the command line says of a word that is none, and of a path that leads nowhere."""

from pathlib import Path

import pytest

from espnet3.__main__ import main


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["satus"], "satus: there is no such verb; did you mean status?"),
        (["qqq"], "qqq: there is no such verb; known are run, status"),
        (["status", "--wacth"], "--wacth: there is no such flag; did you mean --watch?"),
        (["logs", "exp", "--foll"], "--foll: there is no such flag; did you mean --follow?"),
        (["doctor", "--wirte-site=-"], "--wirte-site=-: there is no such flag; did you mean --write-site?"),
        (["logs", "exp/sweeps/defalt"], "no such directory; did you mean exp/sweeps/default?"),
        (["status", "epx"], "epx: there is no such directory; did you mean exp?"),
        (["cancel", "exp/dfault"], "exp/dfault: there is no such directory; did you mean exp/default?"),
        (["report", "exp/sweeps/defalt"], "did you mean exp/sweeps/default?"),
        (["release", "exp/dfault"], "did you mean exp/default?"),
        (["run", "--recipe", "epx"], "epx is no recipe: there is no such directory; did you mean exp?"),
        (["run", "--recipe", "loop/a"], "loop/a' is a link that leads to itself"),
    ],
)  # fmt: skip
def test_a_mistyped_word_leads_to_the_one_that_is_there(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
    words: list[str],
    said: str,
):
    for name in ("exp/default", "exp/sweeps/default"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "loop").symlink_to("loop")
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1 and said in errors


def test_a_folder_below_a_link_to_itself_is_told(
    small_recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture
):
    (tmp_path / "loop").symlink_to("loop")
    assert main(["run", "--recipe", str(small_recipe), "--dry-run", f"exp_dir={tmp_path}/loop/a"]) == 2
    assert "loop/a' is a link that leads to itself" in capsys.readouterr().err


def test_a_working_directory_that_was_removed_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert main(["status"]) == 2
    errors = capsys.readouterr().err
    assert errors == "espnet3: the working directory of this shell was removed: cd to another one\n"
