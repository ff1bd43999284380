"""Our own files in run directories and sweeps, damaged, and what every command says of them."""

import json
import os
import shlex
from pathlib import Path
from random import Random
from typing import ClassVar

from fuzzing.areas.area import Area, warm_up
from fuzzing.case import Case
from fuzzing.mutation import damaged_bytes, damaged_json
from fuzzing.recipes import RUN, add_recipes, add_runs, add_slurm
from fuzzing.sandbox import FOREIGN, Sandbox

RUNS = ("exp/default", "exp/submitted")
LOGS: tuple[list[str], ...] = ([], ["--stage", "train"], ["--rank", "1"], ["--attempt", "1"])
SWEEPS = ("exp/sweeps/default", "exp/sweeps/search")


class StateFiles(Area):
    """Run directories of which a few files are damaged."""

    name: ClassVar[str] = "state"

    def prepare(self, sandbox: Sandbox) -> None:
        """Run directories as `tests/rundir` has them."""
        import espnet3.commands.run
        import espnet3.launcher.cancel
        import espnet3.launcher.resume
        import espnet3.report.write
        import espnet3.status.show
        import espnet3.sweep.cancel
        import espnet3.sweep.resume
        import espnet3.sweep.show.status  # noqa: F401
        from espnet3.__main__ import main
        from espnet3.config import compose
        from shared_compositions import shared

        self.main = main
        add_recipes(sandbox)
        add_runs(sandbox)
        add_slurm(sandbox)
        self.recipe = sandbox.folder / RUN
        compose._compose_files = shared(compose._compose_files)
        dry = ["run", "--recipe", str(self.recipe), "--dry-run"]
        runs, sweep = str(self.recipe / "exp"), str(self.recipe / SWEEPS[0])
        multirun = [*dry, "--stage", "2", "--multirun", "seed=1,2"]
        warm_up(main, dry, [*dry, "launcher=slurm"], multirun, ["status", runs], ["status", sweep])
        made = (path for folder in ("exp", "data") for path in (self.recipe / folder).rglob("*"))
        self.files = sorted(p for p in made if p.is_file() and FOREIGN not in str(p.relative_to(self.recipe)))

    def make(self, random: Random, sandbox: Sandbox) -> Case:
        """Some damaged files, and one command."""
        home, line, writes = self._command(random)
        near = [path for path in self.files if path.is_relative_to(home)] or self.files
        said = []
        for path in random.sample(near, min(len(near), random.choice((1, 1, 1, 2, 5)))):
            said.append(f"{path.relative_to(sandbox.folder)}: {self._damage(random, path)[:800]!r}")
        return Case(f"{shlex.join(line)}\n    " + "\n    ".join(said), lambda: self.main(line), writes=writes)

    def _command(self, random: Random) -> tuple[Path, list[str], bool]:
        """The run or sweep, the words of the command, and whether it may write."""
        recipe = str(self.recipe)
        run, sweep = (self.recipe / random.choice(names) for names in (RUNS, SWEEPS))
        either = random.choice((run, run, sweep))
        trial = random.choice(sorted(self.recipe.glob("exp/sweeps/default/trials/seed*")))
        dry = ["run", "--recipe", recipe, "--dry-run"]
        commands: tuple[tuple[Path, list[str], bool], ...] = (
            (either, ["status", str(either)], False),
            (either, ["status", "--json", str(either)], False),
            (self.recipe, ["status", str(self.recipe / "exp")], False),
            (run, ["logs", str(run), *random.choice(LOGS)], False),
            (sweep, ["logs", str(sweep), *random.choice(([], ["--trial", "1"]))], False),
            (sweep, ["report", str(sweep), "--output", str(self.recipe / "report")], True),
            (either, ["cancel", str(either)], True),
            (either, ["resume", "--detach", str(either)], True),
            (trial, ["resume", "--detach", str(trial)], True),
            (trial, ["status", str(trial)], False),
            (self.recipe, dry, False),
            (run, [*dry, f"tag={run.name}", *random.choice(([], ["--force"], ["launcher=slurm"]))], False),
            (self.recipe / SWEEPS[0], [*dry, "--stage=2", "--multirun", "seed=1,2"], False),
            (self.recipe / SWEEPS[0], [*dry, "--stage=2", "-m", "seed=1,2,3", "launcher=slurm"], False),
        )  # fmt: skip
        return random.choice(commands)

    def _damage(self, random: Random, path: Path) -> bytes:
        """Damage a file; returns what it holds now."""
        kind = random.random()
        if kind < 0.02:
            path.unlink()
            path.mkdir()
            return b"(a folder)"
        if kind < 0.03:
            path.unlink()
            path.symlink_to(path.name)
            return b"(a link to itself)"
        if kind < 0.05:
            path.unlink()
            return b"(gone)"
        if kind < 0.055:
            path.unlink()
            os.mkfifo(path)
            return b"(a FIFO)"
        content = path.read_bytes()
        if path.suffix == ".json":
            others = [other.read_bytes() for other in random.sample(self.files, 3) if other.is_file()]
            content = damaged_json(random, content, others)
        elif path.suffix == ".log" and random.random() < 0.5:
            content += json.dumps(["\x1b[31m", "\udc80"]).encode() + b"\n\xff\xfe" + b"x" * 10_000
        else:
            content = damaged_bytes(random, content, random.choice((1, 1, 3)))
        path.write_bytes(content)
        return content
