"""Command lines of `espnet3 run`, against --dry-run: nothing may be written, and a mistake is one line."""

import shlex
from random import Random
from typing import Any, ClassVar

from fuzzing.areas.area import Area, warm_up
from fuzzing.case import Case
from fuzzing.mutation import WORDS, typo, value, word
from fuzzing.recipes import RECIPES, RUN, add_recipes, add_slurm
from fuzzing.sandbox import Sandbox

FLAGS = (
    *(["--multirun"], ["--force"], ["--detach"], ["--stage", "2"], ["--stop-stage", "train"]),
    *(["--stage", "validate"],),
    *(["--check", "quick"], ["--stage=0"], ["--stop_stage", "1"], ["-m"], ["--cfg", "job"]),
)  # fmt: skip
OVERRIDES = (
    *("launcher=slurm", "launcher=slurm", "launcher=debug", "launcher=local", "tag=mine", "seed=1,2"),
    *("seed=range(1,4)",),
    *("optimizer.lr=1e-3,2e-3", "optimizer.lr=choice(0.1,0.2)", "optimizer.lr=interval(1e-5,1e-2)"),
    *("model.channels=4,8",),
    *("optimizer.lr=tag(log,interval(1e-5,1e-2))", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=3"),
    *("+experiment=small", "~logger.tensorboard", "logger=wandb", "+trainer.profiler=simple", "+note=1"),
    *("init_from=x.ckpt",),
    *("resources.train.nodes=2", "resources.train.gpus_per_node=4", "resources.train.timeout_min=60"),
    *("exp_dir=scratch/empty",),
    *("resources.train.setup=['module load cuda']", "+resources.train.additional_parameters.reservation=a"),
    *("data_dir=scratch",),
    *("validate.splits=[valid]", "validate.checkpoint=last", "dataset.on_bad=skip"),
    *("checkpoint.monitor=valid/loss",),
    *("sweep.max_parallel=2", "sweep.trials_per_job=2", "sweep.objective=valid/loss"),
    *("sweep.direction=maximize",),
    *("+callbacks.mine={_target_: lightning.pytorch.callbacks.Timer, duration: '00:01:00:00'}",),
    *("trainer.precision=16-mixed",),
    *("+resources.train.srun_args=[--cpu-bind=cores]", "exp_dir=../../scratch/full", "exp_dir="),
    *("stats_dir=/", "recipe_dir=."),
)  # fmt: skip


class CommandLines(Area):
    """Flags and overrides that are nearly right."""

    name: ClassVar[str] = "commands"

    def prepare(self, sandbox: Sandbox) -> None:
        """Compose each recipe once, also to know its keys."""
        from espnet3.__main__ import main
        from espnet3.config import compose
        from espnet3.config.flat import flatten
        from shared_compositions import shared

        self.main = main
        add_recipes(sandbox)
        add_slurm(sandbox)
        compose._compose_files = shared(compose._compose_files)
        self.values: dict[str, dict[str, Any]] = {}
        for recipe in RECIPES:
            found = compose.find_recipe(sandbox.folder / "egs" / recipe)
            for choices in ([], ["launcher=slurm"], ["launcher=debug"]):
                config = compose.compose(found, choices)
            self.values[recipe] = flatten(compose.to_plain(config))
        dry = ["run", "--recipe", str(sandbox.folder / RUN), "--dry-run"]
        search = ["--multirun", "hydra/sweeper=optuna", "optimizer.lr=interval(1e-5,1e-2)"]
        warm_up(
            main, dry, [*dry, "launcher=slurm"], [*dry, "-m", "seed=1,2", "launcher=slurm"], [*dry, *search]
        )

    def make(self, random: Random, sandbox: Sandbox) -> Case:
        """A command line of some words."""
        recipe = random.choice(RECIPES)
        flags = [flag for each in random.sample(FLAGS, random.choice((0, 0, 1, 1, 2, 3))) for flag in each]
        overrides = [self._override(random, recipe) for _ in range(random.choice((0, 1, 1, 1, 2, 3, 5)))]
        words = [*flags, *overrides]
        for _ in range(random.choice((0, 0, 0, 1, 1, 2))):
            self._spoil(random, words)
        given = [each.replace("\0", "") for each in words]
        given = [*given, *([] if "--cfg" in given and random.random() < 0.8 else ["--dry-run"])]
        if not {"--dry-run", "--cfg"} & set(given):
            given.append("--dry-run")
        line = ["run", "--recipe", str(sandbox.folder / "egs" / recipe), *given]
        return Case(shlex.join(line), lambda: self.main(line), codes=(0, 2))

    def _override(self, random: Random, recipe: str) -> str:
        if random.random() < 0.4:
            return random.choice(OVERRIDES)
        key, old = random.choice(list(self.values[recipe].items()))
        if random.random() < 0.15 and "." in key:
            key, old = key.rsplit(".", 1)[0], {}
        if random.random() < 0.15:
            key = typo(random, key)
        if random.random() < 0.1:
            key += random.choice((".x", ".0", "[0]", "@a", ".", ".class", f".{random.choice(WORDS)}"))
        given = random.choice((word(random, str(old)), _hydra(value(random, old)), _hydra(old)))
        return random.choices(("", "+", "++", "~", "@"), (75, 10, 5, 8, 2))[0] + f"{key}={given}"

    @staticmethod
    def _spoil(random: Random, words: list[str]) -> None:
        if not words:
            words.append(word(random))
            return
        at = random.randrange(len(words))
        kind = random.randrange(4)
        if kind == 0:
            words[at] = typo(random, words[at])
        elif kind == 1:
            words.insert(at, word(random))
        elif kind == 2:
            words.insert(at, words[at])
        else:
            words[at] += f",{word(random)}"


def _hydra(given: Any) -> str:
    """A value as it is written on a command line."""
    if isinstance(given, dict):
        return "{" + ",".join(f"{key}:{_hydra(inner)}" for key, inner in given.items()) + "}"
    if isinstance(given, list):
        return f"[{','.join(map(_hydra, given))}]"
    return "null" if given is None else str(given)
