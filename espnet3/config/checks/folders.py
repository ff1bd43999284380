"""Checks the folders that a run fills: a mistake here would write into, or move, what is not ours."""

from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from espnet3.errors import UserError

FOLDERS = ("exp_dir", "data_dir", "stats_dir", "sweep.dir")
_OF_LOGS = ("exp_dir", "sweep.dir")
"""Folders whose names are in the options of sbatch and srun, where %j is replaced by the job's id."""
_REFUSED = {
    "${": "which is read as a reference",
    "%": "which Slurm replaces in logs",
    "\\": "after which Slurm replaces nothing in logs",
}
"""What a name must not hold; the last two only in folders of logs."""
_NAME_BYTES, _PATH_BYTES = 255, 3800
"""What file systems take as one name, and as a path with room for what a run writes below it."""


def check_folders(config: DictConfig) -> None:
    """Check the folders of the resolved `config`.

    Raises:
        UserError: naming the first that is empty, relative, has a name that Slurm or file systems can't take,
            or contains the recipe or the home directory.
    """
    for key in FOLDERS:
        value = OmegaConf.select(config, key)
        if not isinstance(value, str) or not value.strip():
            raise UserError(f"{key} is empty (a shell variable that is not set?): give a folder, {key}=/PATH")
        if any(not character.isprintable() for character in value):
            raise UserError(f"{key}={value!r} has control characters: give a folder without them")
        for sign, reason in _REFUSED.items():
            if sign in value and (key in _OF_LOGS or sign == "${"):
                raise UserError(f"{key}={value} holds {sign}, {reason}: give a folder without it")
        longest = max(value.split("/"), key=lambda name: len(name.encode()))
        if len(longest.encode()) > _NAME_BYTES or len(value.encode()) > _PATH_BYTES:
            raise UserError(
                f"{key} has {len(value.encode())} bytes, and {len(longest.encode())} in one name: a path has"
                f" at most {_PATH_BYTES}, each name at most {_NAME_BYTES}"
            )
        if not Path(value).is_absolute():
            raise UserError(f"{key}={value} is relative: give an absolute path, such as {key}=$PWD/{value}")
        folder = Path(value).resolve()
        for name, inner in (("the recipe", Path(config.recipe_dir)), ("your home directory", expanded("~"))):
            if inner.is_absolute() and inner.resolve().is_relative_to(folder):
                raise UserError(f"{key}={value} is or contains {name} ({inner}): give a folder of its own")
    for key in ("data_dir", "stats_dir"):
        if Path(config[key]).resolve() == Path(config.exp_dir).resolve():
            raise UserError(f"exp_dir={config.exp_dir} is {key}, too: give each a folder of its own")


def expanded(path: str) -> Path:
    """`path` with a home directory for a `~` at its beginning; unchanged where that user has none.

    A container may have no list of users, and no HOME.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)
