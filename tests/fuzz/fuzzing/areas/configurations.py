"""Files of a recipe's configuration, and site files: broken, mistyped, with wrong values."""

import os
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, ClassVar

import yaml

from fuzzing.areas.area import Area, warm_up
from fuzzing.case import Case
from fuzzing.mutation import damaged, damaged_bytes, typo, value, word
from fuzzing.recipes import RECIPES, RUN, add_recipes, add_slurm
from fuzzing.sandbox import Sandbox, put

SITE = b"""launcher: slurm
resources:
  all: {partition: gpu, timeout_min: 60, setup: [module load cuda]}
  train: {mem_gb: 8}
"""
ODD_FILES = (
    *(b"", b"\n", b"null", b"[]", b"5", b"a: b: c", b"\t", b"---\n---\n", b"%YAML 1.2\n", b"defaults:"),
    *(b"defaults: base",),
    *(b"defaults: [nothing]", b"defaults: [base, base]", b"defaults: [_self_]"),
    *(b"defaults: [{trainer: null}]", b"defaults: 1"),
    *(b"defaults: [{trainer: [a]}, base]", b"defaults: [base, {override trainer: nothing}]"),
    *(b"defaults: [base, _self_]\ntrainer:",),
    *(b"!!python/object/apply:os.system [id]", b"a: !x 1", b"a: &a [*a]", b"a: &a {b: *a}", b"<<: 1"),
    *(b"? [a]\n: b", b"1: 2"),
    *(b"a: " + b"[" * 3000, b"a: " + b"{a: " * 400 + b"1" + b"}" * 400, b"x" * 100_000, b"\xff\xfe\x00"),
    *("é: ü".encode("latin-1"),),
    b"a: &a [x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b]\nd: [*c,*c,*c,*c]",
)  # fmt: skip


class Configurations(Area):
    """A file or two that a composition reads."""

    name: ClassVar[str] = "configurations"

    def prepare(self, sandbox: Sandbox) -> None:
        """The recipes, and a site file."""
        from espnet3.__main__ import main

        self.main = main
        add_recipes(sandbox)
        add_slurm(sandbox)
        dry = ["run", "--recipe", str(sandbox.folder / RUN), "--dry-run"]
        warm_up(main, dry, [*dry, "launcher=slurm"], [*dry, "-m", "seed=1,2"], [*dry, "--cfg", "job"])
        self.site = sandbox.folder / "home" / ".config" / "espnet3" / "site.yaml"
        self.site.parent.mkdir(parents=True)
        self.site.write_bytes(SITE)
        os.environ.pop("ESPNET3_SITE")

    def make(self, random: Random, sandbox: Sandbox) -> Case:
        """A recipe with a damaged file."""
        recipe = sandbox.folder / "egs" / random.choice(RECIPES)
        files = [*recipe.glob("conf/**/*.yaml"), *recipe.parent.glob("conf/*.yaml"), self.site]
        files = [*files, recipe / "conf" / "config.yaml", recipe / "conf" / "config.yaml"]
        said = []
        for path in dict.fromkeys(random.sample(sorted(files), random.choice((1, 1, 1, 2)))):
            content = self._damage(random, path)
            put(path, content)
            now = "a folder" if content is None else repr(content[:1500])
            said.append(f"{path.relative_to(sandbox.folder)}: {now}")
        words = random.choice(
            (["--dry-run"], ["--dry-run"], ["--cfg", "job"], ["--dry-run", "--multirun", "seed=1,2"])
        )
        line = ["run", "--recipe", str(recipe), *words]
        line += random.choice(([], [], ["launcher=slurm"], ["+experiment=small"]))
        return Case(f"{' '.join(line)}\n    " + "\n    ".join(said), lambda: self.main(line), codes=(0, 2))

    def _damage(self, random: Random, path: Path) -> bytes | None:
        """Another content for a file; None: a folder in its place."""
        if not path.is_file():
            return b""
        content = path.read_bytes()
        text = content.decode("utf-8", "replace")
        kinds: tuple[tuple[int, Callable[[], bytes | None]], ...] = (
            (50, lambda: _values(random, content)),
            (15, lambda: _lines(random, text)),
            (12, lambda: damaged_bytes(random, content, random.choice((1, 1, 3)))),
            (12, lambda: random.choice(ODD_FILES)),
            (4, lambda: text.encode(random.choice(("utf-16", "utf-32", "utf-8-sig", "cp037")), "replace")),
            (4, lambda: content + b"\n" + random.choice(ODD_FILES)),
            (1, lambda: None),
        )
        return random.choices([kind for _, kind in kinds], [weight for weight, _ in kinds])[0]()


def _values(random: Random, content: bytes) -> bytes:
    """Still YAML, with other values or keys."""
    try:
        data: Any = yaml.safe_load(content)
    except (yaml.YAMLError, ValueError, RecursionError):
        return damaged_bytes(random, content)
    data = damaged(random, data, random.choice((1, 1, 1, 2, 3)))
    if isinstance(data, dict) and random.random() < 0.2:
        data[word(random)] = value(random)
    try:
        return yaml.safe_dump(data, allow_unicode=True, sort_keys=False).encode("utf-8", "surrogateescape")
    except (RecursionError, ValueError, yaml.YAMLError):
        return b"a: " + b"[" * 1000


def _lines(random: Random, text: str) -> bytes:
    """Lines that were lost, doubled, moved to the left or right, or mistyped."""
    lines = text.splitlines(keepends=True)
    at = random.randrange(len(lines)) if lines else 0
    if lines:
        line = lines[at]
        changed = (
            *([], [line, line], [line.lstrip()], ["  " + line], ["\t" + line], [typo(random, line)]),
            *([line.split(":")[0] + ":\n"], [line.rstrip() + f" {word(random)}\n"]),
            *([f"{line.split(':')[0]}: {word(random)}\n"],),
        )  # fmt: skip
        lines[at : at + 1] = random.choice(changed)
    return "".join(lines).encode("utf-8", "surrogateescape")
