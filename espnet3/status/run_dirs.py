"""Which run directories are meant: those that are named, those below, or all of the recipe we are in."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from espnet3.errors import UserError, short_path
from espnet3.rundir.layout import is_run_dir

_BELOW = ("*", "exp/*", "*/*", "*/exp/*", "*/*/exp/*", "egs/*/exp/*", "egs/*/*/exp/*")
"""Where run directories lie below a sweep, a recipe, a corpus, egs/ and a clone."""


def run_dirs(named: Sequence[Path]) -> list[Path]:
    """The run directories that are `named` or lie below those that are; without any, those from here.

    Raises:
        UserError: one of them is none, and has none below.
    """
    if not named:
        return runs_from_here(Path.cwd())
    found: dict[Path, None] = {}
    for path in named:
        if not path.is_dir():
            raise UserError(f"{path}: there is no such directory")
        runs = [path.resolve()] if is_run_dir(path) else runs_below(path.resolve())
        if not runs:
            raise UserError(f"{path} is no run directory, such as exp/default of a recipe, and holds none")
        found |= dict.fromkeys(runs)
    return list(found)


def one_run_dir(path: Path) -> Path:
    """`path`, which must be one run directory, or hold a single one.

    Raises:
        UserError: it is none, or there are several.
    """
    runs = run_dirs([path])
    if len(runs) > 1:
        some = ", ".join(short_path(run) for run in runs[:3])
        raise UserError(f"{path} holds {len(runs)} run directories: name one of them ({some}, …)")
    return runs[0]


def runs_from_here(here: Path) -> list[Path]:
    """The runs of the recipe that `here` lies in, else those below, else those of the clone."""
    for folder in (here, *here.parents):
        if (folder / "conf" / "config.yaml").is_file():
            return runs_below(folder)
    if found := runs_below(here):
        return found
    clone = next((folder for folder in here.parents if (folder / "egs").is_dir()), None)
    return runs_below(clone) if clone else []


def runs_below(directory: Path) -> list[Path]:
    """Run directories below a sweep, a recipe, a corpus, egs/ or a clone, without trainings moved aside."""
    paths: Iterable[Path] = (path for pattern in _BELOW for path in directory.glob(pattern))
    return sorted({path for path in paths if ".old-" not in path.name and is_run_dir(path)})
