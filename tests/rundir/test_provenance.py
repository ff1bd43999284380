"""What `run.json` says about the code."""

import subprocess
from pathlib import Path

from espnet3.rundir.provenance import provenance


def git(directory: Path, *arguments: str) -> None:
    subprocess.run(
        ["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments], cwd=directory, check=True
    )


def test_changed_files_of_the_clone_and_untracked_ones_of_the_recipe_are_named(tmp_path: Path):
    recipe = tmp_path / "egs" / "mine"
    recipe.mkdir(parents=True)
    (tmp_path / ".gitignore").write_text("exp/\n")
    (tmp_path / "shared.py").write_text("")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    assert provenance([], recipe)["git_changed_files"] == []
    (tmp_path / "shared.py").write_text("changed")
    (tmp_path / "elsewhere.py").write_text("")
    (recipe / "new model.py").write_text("")
    (recipe / "exp").mkdir()
    (recipe / "exp" / "run.log").write_text("")
    written = provenance(["run.sh"], recipe)
    assert [line.split()[-1] for line in written["git_changed_files"]] == ["shared.py"]
    assert written["git_untracked_files"] == ["new model.py"]


def test_outside_of_git_nothing_is_named(tmp_path: Path):
    written = provenance([], tmp_path)
    assert written["git_revision"] is None
    assert written["git_changed_files"] == written["git_untracked_files"] == []
