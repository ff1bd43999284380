"""What the sandbox holds: recipes of this clone, run directories, Slurm's commands, and files of others."""

import os
import shutil
from pathlib import Path

from fuzzing.sandbox import Sandbox

ROOT = Path(__file__).resolve().parents[3]
GOLDEN = ROOT / "tests" / "rundir" / "golden"
RECIPES = ("TEMPLATE", "mini_digits/asr", "mini_digits/vocoder")
RUN = "egs/TEMPLATE"
"""The recipe that has been run, below the sandbox."""
SLURMS = ("sbatch", "squeue", "sacct", "scancel", "scontrol", "sinfo", "sacctmgr", "srun", "sstat", "sprio")
ANSWERS = {"sbatch": "Submitted batch job 4711\n", "squeue": "", "sacct": ""}
_COMMAND = '#!/bin/sh\ncat "$0.answer"\nexit $(cat "$0.code")\n'


def add_recipes(sandbox: Sandbox) -> None:
    """All recipes, with files of others in and around them."""
    for name in ("egs", "conf"):
        ignored = shutil.ignore_patterns("exp", "data", "__pycache__", "*.png")
        shutil.copytree(ROOT / name, sandbox.folder / name, ignore=ignored, dirs_exist_ok=True)
    sandbox.add_foreign("home", "scratch", "scratch/full", *(f"egs/{recipe}" for recipe in RECIPES))
    (sandbox.folder / "scratch" / "empty").mkdir()
    (sandbox.folder / "home" / ".foreign-rc").write_text("export A=1\n")
    (sandbox.folder / "scratch" / "link").symlink_to(sandbox.folder / "home")


def add_runs(sandbox: Sandbox) -> None:
    """A finished training, a submitted one, a sweep and a search of TEMPLATE, as `tests/rundir` has them."""
    newest = max(GOLDEN.glob("format-*"), key=lambda path: int(path.name.removeprefix("format-")))
    recipe = sandbox.folder / RUN
    for source in newest.rglob("*"):
        if source.is_file():
            target = recipe / source.relative_to(newest)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes().replace(b"/golden", str(recipe).encode()))
    for private in recipe.glob("exp/sweeps/*/configs"):
        private.chmod(0o700)
    run = f"{RUN}/exp/default"
    sandbox.add_foreign(
        f"{RUN}/exp", run, f"{run}/checkpoints", f"{RUN}/data", f"{RUN}/exp/sweeps/default/trials"
    )


def add_slurm(sandbox: Sandbox) -> None:
    """Slurm's commands, of which each prints a file: `answer` changes it. PATH has no other ones."""
    commands = sandbox.folder / "bin"
    commands.mkdir()
    for name in SLURMS:
        (commands / name).write_text(_COMMAND)
        (commands / name).chmod(0o755)
        answer(sandbox, name, ANSWERS.get(name, "").encode())
    for name in ("cat", "bash"):
        (commands / name).symlink_to(shutil.which(name) or f"/bin/{name}")
    os.environ["PATH"] = str(commands)
    for variable in list(os.environ):
        if variable.startswith(("SLURM_", "SQUEUE_", "SACCT_", "SBATCH_")):
            del os.environ[variable]


def answer(sandbox: Sandbox, name: str, text: bytes, code: int = 0) -> None:
    """What one of Slurm's commands prints from now on, and its exit code."""
    (sandbox.folder / "bin" / f"{name}.answer").write_bytes(text)
    (sandbox.folder / "bin" / f"{name}.code").write_text(str(code))
