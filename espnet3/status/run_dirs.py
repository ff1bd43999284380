"""Find run directories: those named, those below a directory, or all of the current recipe."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from espnet3.errors import UserError, directory_problem, short_path
from espnet3.rundir.files.reading import CantReadError, files_in
from espnet3.rundir.layout import is_run_dir

_BELOW = ("*", "exp/*", "*/*", "*/exp/*", "*/*/exp/*", "egs/*/exp/*", "egs/*/*/exp/*")
"""Patterns of run directories below a sweep, a recipe, a corpus, egs/ and a clone."""


def run_dirs(named: Sequence[Path]) -> list[Path]:
    """The run directories among `named` or below them; without names, those of `runs_from_here`.

    Raises:
        UserError: a path is no run directory and contains none.
    """
    if not named:
        return runs_from_here(Path.cwd())
    found: dict[Path, None] = {}
    for path in named:
        if directory_problem(path):
            raise UserError(f"{path}: {directory_problem(path)}")
        runs = [path.resolve()] if _may_be_run(path) else runs_below(path.resolve())
        if not runs:
            raise UserError(f"{path} is no run directory, such as exp/default of a recipe, and holds none")
        found |= dict.fromkeys(runs)
    return list(found)


def one_run_dir(path: Path) -> Path:
    """`path`, if it is a run directory, else the only run directory below it.

    Raises:
        UserError: there is none, or several.
    """
    runs = run_dirs([path])
    if len(runs) > 1:
        examples = ", ".join(short_path(run) for run in runs[:3])
        raise UserError(f"{path} holds {len(runs)} run directories: name one of them ({examples}, …)")
    return runs[0]


def runs_from_here(directory: Path) -> list[Path]:
    """The runs of the recipe that contains `directory`, else those below it, else those of the clone."""
    for folder in (directory, *directory.parents):
        if (folder / "conf" / "config.yaml").is_file():
            return runs_below(folder)
    if runs := runs_below(directory):
        return runs
    clone = next((folder for folder in directory.parents if (folder / "egs").is_dir()), None)
    return runs_below(clone) if clone else []


def runs_below(directory: Path) -> list[Path]:
    """Run directories below a sweep, a recipe, a corpus, egs/ or a clone, without trainings moved aside.

    Also folders there that can't be read, which may be some, or hold some.
    """
    paths = {path for pattern in _BELOW for path in _matching(directory, pattern)}
    return sorted(path for path in paths if ".old-" not in path.name and _may_be_run(path))


def _matching(directory: Path, pattern: str) -> Iterator[Path]:
    """As `Path.glob`; a folder `exp` that can't be read stands for what it holds."""
    name, _, rest = pattern.partition("/")
    try:
        found = files_in(directory, name)
    except CantReadError:
        if directory.name == "exp":
            yield directory
        return
    for path in found:
        if rest:
            yield from _matching(path, rest)
        else:
            yield path


def _may_be_run(path: Path) -> bool:
    """Whether it is a run directory; also where that can't be read, which whoever reads the run will say."""
    try:
        return is_run_dir(path)
    except CantReadError:
        return True
