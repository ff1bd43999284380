"""Names inside a sweep directory."""

from collections.abc import Sequence
from pathlib import Path

from espnet3.rundir.files.reading import CantReadError, exists, files_in

SWEEP = "sweep.json"


def is_sweep(directory: Path) -> bool:
    """Whether `directory` holds a sweep; not where that can't be read, which its reader says."""
    try:
        return exists(directory / SWEEP)
    except CantReadError:
        return False


def sweep_of(trial: Path) -> Path | None:
    """The sweep that a run directory is a trial of; None if it is not a trial."""
    sweep = trial.resolve().parent.parent
    return sweep if trial.resolve().parent.name == "trials" and is_sweep(sweep) else None


def split_sweeps(directories: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """The sweeps among `directories`, and the rest; a folder of sweeps (exp/sweeps) stands for its sweeps."""
    sweeps: dict[Path, None] = {}
    others = []
    for directory in directories:
        inside = sorted(path.parent for path in directory.glob(f"*/{SWEEP}"))
        if is_sweep(directory):
            sweeps[directory.resolve()] = None
        elif inside:
            sweeps |= dict.fromkeys(path.resolve() for path in inside)
        else:
            others.append(directory)
    return list(sweeps), others


def trial_dir(sweep: Path, name: str) -> Path:
    """The run directory of a trial."""
    return sweep / "trials" / name


def trial_dirs(sweep: Path) -> list[Path]:
    """The run directories of all trials that have begun or were submitted."""
    return files_in(sweep / "trials")


def config_file(sweep: Path, name: str) -> Path:
    """A base configuration of trials."""
    return sweep / "configs" / f"{name}.yaml"


def diff_file(sweep: Path, name: str) -> Path:
    """The uncommitted changes of the working tree at a command."""
    return sweep / "code" / f"{name}.diff"


def shared_dir(sweep: Path, name: str) -> Path:
    """The run directory of stages that several trials share."""
    return sweep / "shared" / name


def array_dir(sweep: Path, number: int) -> Path:
    """The folder of one array that was submitted to Slurm."""
    return sweep / "arrays" / str(number)


def array_numbers(sweep: Path) -> list[int]:
    """Numbers of a sweep's arrays, in the order of submission."""
    return sorted(int(path.name) for path in (sweep / "arrays").glob("*") if path.name.isdigit())
