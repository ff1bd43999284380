"""Folders that a run fills: mistakes are told before anything is written."""

from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from espnet3.config.checks.folders import check_folders, expanded
from espnet3.config.site import Site, read_site
from espnet3.errors import UserError

RECIPE = Path("/corpora/tones/asr")


def config(**changes: Any) -> Any:
    folders = {key: f"{RECIPE}/{key}" for key in ("exp_dir", "data_dir", "stats_dir")}
    content = {"recipe_dir": str(RECIPE), "sweep": {"dir": f"{RECIPE}/exp/sweeps/default"}, **folders}
    return OmegaConf.create(content | changes)


def test_folders_inside_and_outside_of_the_recipe_will_do():
    check_folders(config(exp_dir="/scratch/me/exp", data_dir=f"{RECIPE.parent}/data with blanks"))


@pytest.mark.parametrize("key", ["exp_dir", "data_dir", "stats_dir"])
@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("", "is empty"),
        (None, "is empty"),
        ("exp/a", r"=exp/a is relative: .*=\$PWD/exp/a"),
        ("/scratch/a\nb", "has control characters"),
        (f"/scratch/{'é' * 128}", "and 256 in one name"),
        ("/x" * 2000, "has 4000 bytes"),
        (str(RECIPE), r"is or contains the recipe \(/corpora/tones/asr\)"),
        ("/corpora", "is or contains the recipe"),
        (f"{RECIPE}/conf/../..", "is or contains the recipe"),
        (str(Path.home()), "is or contains your home directory"),
        ("/", "is or contains the recipe"),
    ],
)
def test_mistakes(key: str, value: Any, message: str):
    with pytest.raises(UserError, match=f"^{key}.*{message}") as error:
        check_folders(config(**{key: value}))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("key", ["exp_dir", "sweep"])
def test_a_folder_of_logs_has_nothing_that_slurm_replaces(key: str):
    value: Any = "/scratch/p%j" if key == "exp_dir" else {"dir": "/scratch/p%j"}
    with pytest.raises(UserError, match=r"/scratch/p%j holds %, which Slurm replaces"):
        check_folders(config(**{key: value}))
    value = "/scratch/a\\b" if key == "exp_dir" else {"dir": "/scratch/a\\b"}
    with pytest.raises(UserError, match=r"/scratch/a\\b holds \\, after which Slurm replaces nothing"):
        check_folders(config(**{key: value}))
    check_folders(config(data_dir="/scratch/50%"))


def test_a_user_without_a_home_directory_is_served(monkeypatch: pytest.MonkeyPatch):
    def is_unknown(number: int):
        raise KeyError(number)

    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", is_unknown)
    check_folders(config())
    assert expanded("~") == Path("~") and expanded("~nobody-of-this-name/a") == Path("~nobody-of-this-name/a")
    assert read_site({}) == Site()
    assert read_site({"HOME": ""}) == Site()


def test_the_folder_of_a_sweep_is_checked():
    with pytest.raises(UserError, match=r"^sweep.dir is empty"):
        check_folders(config(sweep={"dir": ""}))


@pytest.mark.parametrize("key", ["data_dir", "stats_dir"])
def test_a_run_directory_is_no_other_folder_too(key: str):
    with pytest.raises(UserError, match=rf"^exp_dir=/scratch/a is {key}, too"):
        check_folders(config(exp_dir="/scratch/a", **{key: "/scratch/b/../a"}))
