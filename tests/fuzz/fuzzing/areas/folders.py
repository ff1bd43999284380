"""Real runs whose folders are anything: empty, relative, of others. Nothing of others is touched."""

import os
import shlex
from random import Random
from typing import ClassVar

from fuzzing.areas.area import Area, warm_up
from fuzzing.case import Case
from fuzzing.mutation import INJECTION, typo
from fuzzing.recipes import RUN, add_recipes, add_runs, add_slurm
from fuzzing.sandbox import Sandbox

CONFIG = """
defaults: [base, _self_]
check_data: "off"
prepare: {_target_: making.make, data_dir: "${data_dir}"}
model: {_target_: making.Model}
optimizer: {_target_: torch.optim.Adam, lr: 1e-3}
trainer: {max_epochs: 1, accelerator: cpu}
"""
CODE = '''
"""A stage 0 that takes no time, and a model that can't be trained."""
from pathlib import Path

from espnet3.errors import UserError
from espnet3.rundir.task import StageResult


def make(data_dir, task):
    Path(data_dir, "made.txt").write_text("1")
    return StageResult("1 file", Path(data_dir), outputs=[Path(data_dir, "made.txt")])


class Model:
    def __init__(self):
        raise UserError("this model is never made")
'''
KEYS = ("exp_dir", "exp_dir", "exp_dir", "tag", "data_dir", "stats_dir", "sweep.dir", "recipe_dir")
FOLDERS = (
    *("", " ", ".", "..", "../..", "/", "//", "~", "null", "home", "scratch"),
    *("scratch/full", "scratch/empty", "scratch/link", "scratch/new"),
    *("egs", RUN, f"{RUN}/exp", f"{RUN}/exp/default", f"{RUN}/exp/submitted", f"{RUN}/data", f"{RUN}/conf"),
    *(f"{RUN}/run.sh",),
    *(f"{RUN}/exp/sweeps", f"{RUN}/exp/sweeps/default", "egs/tiny", "egs/tiny/exp", "egs/tiny/exp/default"),
    *("egs/tiny/conf",),
    *("egs/tiny/data", "bin", "scratch/foreign.txt", "scratch/foreign.txt/x"),
    *(f"scratch/{INJECTION}", "scratch/%j", "scratch/a b", "a" * 300),
    *("${oc.env:HOME}", "${recipe_dir}", "${nothing}", "'${data_dir}'", "scratch/é", "scratch/\udcff"),
)  # fmt: skip


class Folders(Area):
    """`espnet3 run` without --dry-run, of stages that take no time."""

    name: ClassVar[str] = "folders"

    def prepare(self, sandbox: Sandbox) -> None:
        """A recipe whose stage 0 writes one file and whose training fails; its import, and that of torch."""
        import torch._dynamo  # noqa: F401

        import espnet3.components.trainers.build
        import espnet3.stages.prepare
        import espnet3.stages.train  # noqa: F401
        from espnet3.__main__ import main

        self.main = main
        add_recipes(sandbox)
        add_runs(sandbox)
        add_slurm(sandbox)
        self.tiny = sandbox.folder / "egs" / "tiny"
        (self.tiny / "conf").mkdir(parents=True)
        (self.tiny / "conf" / "config.yaml").write_text(CONFIG)
        (self.tiny / "making.py").write_text(CODE)
        sandbox.add_foreign(
            "egs/tiny", "egs/tiny/exp/default/checkpoints", "egs/tiny/exp/default", "egs/tiny/data"
        )
        dry = ["run", "--recipe", str(self.tiny), "--dry-run"]
        warm_up(main, dry, [*dry, "launcher=slurm"], [*dry, "-m", "seed=1,2", "launcher=slurm"])
        os.chdir(sandbox.folder / "scratch")

    def make(self, random: Random, sandbox: Sandbox) -> Case:
        """One or two folders, and stages."""
        given = {random.choice(KEYS): self._folder(random, sandbox) for _ in range(random.choice((1, 1, 2)))}
        words = [f"{key}={folder}" for key, folder in given.items()]
        stages = random.choice((["0", "0"], ["0", "0"], ["2", "2"], ["2", "3"]))
        flags = [*random.choice(([], ["--force"])), "--stage", stages[0], "--stop-stage", stages[1]]
        flags += random.choice((["launcher=debug"], ["launcher=debug"], ["launcher=slurm", "--detach"]))
        if "launcher=slurm" in flags and random.random() < 0.5:
            flags += ["--multirun", "seed=1,2"]
        line = ["run", "--recipe", str(self.tiny), *flags, *words]
        twice = random.random() < 0.3

        def run() -> int:
            code = self.main(line)
            return self.main([*line, "--force"]) if twice else code

        return Case(shlex.join(line) + " # twice" * twice, run, writes=True)

    def _folder(self, random: Random, sandbox: Sandbox) -> str:
        folder = random.choice(FOLDERS)
        if folder and folder[0].isalpha() and folder != "null" and random.random() < 0.7:
            folder = str(sandbox.folder / folder)
        if random.random() < 0.1:
            folder = typo(random, folder)
        quoted = folder if random.random() < 0.7 else "'" + folder.replace("'", "\\'") + "'"
        return quoted.replace("\0", "")
