"""`launch` and `load_run`: start a run or a sweep from Python, and take up one that was started anywhere."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, overload

from espnet3.api.background import started_last
from espnet3.api.command import Command
from espnet3.api.handle import Handle
from espnet3.api.logged import LoggedScreen
from espnet3.api.plan import plan_command
from espnet3.api.run import Run
from espnet3.api.sweep import Sweep
from espnet3.errors import UserError
from espnet3.rundir.records.background import read_background
from espnet3.status.run_dirs import one_run_dir
from espnet3.sweep.trials.folder import is_sweep
from espnet3.sweep.trials.search_record import search_dir

Stages = tuple[int | str, int | str]
"""The first and the last stage, by number or name."""


@overload
def launch(
    recipe: str | Path,
    overrides: Sequence[str] = (),
    *,
    stages: Stages | None = None,
    launcher: str | None = None,
    multirun: Literal[False] = False,
    force: bool = False,
) -> Run: ...


@overload
def launch(
    recipe: str | Path,
    overrides: Sequence[str] = (),
    *,
    stages: Stages | None = None,
    launcher: str | None = None,
    multirun: Literal[True],
    force: bool = False,
) -> Sweep: ...


@overload
def launch(
    recipe: str | Path,
    overrides: Sequence[str] = (),
    *,
    stages: Stages | None = None,
    launcher: str | None = None,
    multirun: bool,
    force: bool = False,
) -> Run | Sweep: ...


def launch(
    recipe: str | Path,
    overrides: Sequence[str] = (),
    *,
    stages: Stages | None = None,
    launcher: str | None = None,
    multirun: bool = False,
    force: bool = False,
) -> Handle:
    """Start what `run.sh` would, and return at once: it goes on when this process ends.

    Jobs on Slurm are submitted. What runs on this machine runs in a process of its own, whose output is in
    `logs/background.log` of the run directory. Nothing is printed: messages go to the logger `espnet3`.

        run = launch("egs/mini_digits/asr", ["optimizer.lr=1e-3"], stages=(2, 3), launcher="slurm")
        run.wait()
        run.metrics()

    Args:
        recipe: the recipe's folder.
        overrides: of its configuration, in Hydra's syntax.
        stages: the first and the last stage, both included: (2, 3), or ("train", "validate"); default: all.
        launcher: slurm, local or allocation; default: the recipe's.
        multirun: run a sweep: a grid over the overrides of several values, or a search.
        force: run finished stages again.

    Returns:
        The run; with `multirun` the sweep.

    Raises:
        UserError: for what can be known before anything is started, and when Slurm refuses.
    """
    if isinstance(overrides, str):
        raise UserError(f"overrides: give a list, [{overrides!r}]")
    if stages is not None and (isinstance(stages, str) or len(stages) != 2):
        raise UserError(f"stages={stages!r}: give the first and the last stage, such as (2, 3)")
    first, last = (None, None) if stages is None else map(str, stages)
    command = Command(
        Path(recipe),
        [*([f"launcher={launcher}"] if launcher else []), *overrides],
        stage=first,
        stop_stage=last,
        multirun=multirun,
        force=force,
    )
    return plan_command(command).start(LoggedScreen())


def load_run(directory: str | Path) -> Run | Sweep:
    """The run or the sweep in a directory, whoever started it, by `launch` or by `run.sh`.

        load_run("egs/mini_digits/asr/exp/default").wait()

    Args:
        directory: a run directory, such as `exp/default` of a recipe, or a sweep.

    Raises:
        UserError: there is no run, or there are several.
    """
    path = Path(directory)
    background = read_background(path)
    if is_sweep(path) or search_dir(path).is_dir() or (background and background.is_sweep):
        return Sweep(path)
    if background is None:
        return Run(one_run_dir(path))
    if started_last(path) is None and not background.is_alive:
        return Run(path)
    return Run(path, {stage: Path(home) for stage, home in background.homes.items()})
