"""Checks the folders that a run fills: a mistake here would write into, or move, what is not ours."""

from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from espnet3.errors import UserError

FOLDERS = ("exp_dir", "data_dir", "stats_dir", "sweep.dir")


def check_folders(config: DictConfig) -> None:
    """Check the folders of the resolved `config`.

    Raises:
        UserError: naming the first that is empty, relative, or contains the recipe or the home directory.
    """
    for key in FOLDERS:
        value = OmegaConf.select(config, key)
        if not isinstance(value, str) or not value.strip():
            raise UserError(f"{key} is empty (a shell variable that is not set?): give a folder, {key}=/PATH")
        if any(not character.isprintable() for character in value):
            raise UserError(f"{key}={value!r} has control characters: give a folder without them")
        if not Path(value).is_absolute():
            raise UserError(f"{key}={value} is relative: give an absolute path, such as {key}=$PWD/{value}")
        folder = Path(value).resolve()
        for name, inner in (("the recipe", Path(config.recipe_dir)), ("your home directory", Path.home())):
            if inner.resolve().is_relative_to(folder):
                raise UserError(f"{key}={value} is or contains {name} ({inner}): give a folder of its own")
