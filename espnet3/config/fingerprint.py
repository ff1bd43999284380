"""Fingerprints: the part of a configuration and the code that decide the result of a stage."""

import ast
import hashlib
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from espnet3.config.flat import Flat, flatten
from espnet3.config.secrets import secrets_named
from espnet3.number_text import number_text
from espnet3.rundir.records.code import hash_code
from espnet3.stage_table import AS_IF_ABSENT, NO_RESULT, STAGES

Part = Flat
"""The part of a configuration that decides the result of a stage: dotted key -> plain value."""

WORLD = ("trainer.devices", "trainer.num_nodes")
"""These follow from resources: a training may resume with another number of ranks."""
TEST_DATA = "dataset.test"
"""The key of the test sets."""
_AUTOMATIC = re.compile(r"\./exp/stats/[0-9a-f]{10}(?=/|$)")
"""The folder of statistics that `stats_dir: auto` stands for, in the part of a configuration."""


def stage_part(config: DictConfig, stage: str) -> Part:
    """The part of the resolved `config` that decides the result of `stage`; paths are relative to the recipe.

    Resources, launcher and tag are left out: they don't change a result. So are test data, for a stage that
    does not read them, and the name of the folder of statistics, which follows from what they are made of. A
    secret appears by its name only.

    Raises:
        KeyError: the table has no such stage.
    """
    part: Part = {}
    with secrets_named(config):
        for key in STAGES[stage].fingerprint(config):
            node = OmegaConf.select(config, key)
            value = OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
            part |= flatten(value, key)
        if "test data" not in STAGES[stage].reads:
            manifests = set(stage_manifests(config, stage))
            part = {
                key: value
                for key, value in part.items()
                if not is_within(key, TEST_DATA)
                and (not key.startswith("manifests.") or key.removeprefix("manifests.") in manifests)
            }
    return _results_only(part, str(config.recipe_dir))


def stage_manifests(config: DictConfig, stage: str) -> dict[str, str]:
    """The manifests that `stage` may read, by name.

    For a stage that does not read test data, manifests are left out that only `dataset.test` names, and those
    whose name starts with `test`, unless the other data name them.
    """
    manifests: dict[str, str] = OmegaConf.to_container(config.manifests, resolve=True)  # type: ignore[assignment]
    if "test data" in STAGES[stage].reads:
        return manifests
    data = flatten(OmegaConf.to_container(config.dataset, resolve=True), "dataset")
    in_test = {str(value) for key, value in data.items() if is_within(key, TEST_DATA)}
    in_others = {str(value) for key, value in data.items() if not is_within(key, TEST_DATA)}
    return {
        name: path
        for name, path in manifests.items()
        if str(path) in in_others or not (str(path) in in_test or str(name).startswith("test"))
    }


def is_within(key: str, parent: str) -> bool:
    """Whether a dotted key is `parent` or lies below it."""
    return key == parent or key.startswith(f"{parent}.")


def trial_part(flat: Flat, recipe_dir: str) -> Part:
    """As `stage_part` for all stages together, from a resolved configuration with dotted keys.

    Numbers of nodes and tasks are left out: only their product, the world size, matters.
    """
    kept = {key: value for key, value in flat.items() if key.partition(".")[0] not in NO_RESULT}
    return _results_only(kept, recipe_dir)


def _results_only(part: Flat, recipe_dir: str) -> Part:
    """`part` without keys that only change speed, with paths relative to the recipe."""
    excluded = (*WORLD, *(key for stage in STAGES.values() for key in stage.speed_only))
    return _relative(
        {
            key: value
            for key, value in part.items()
            if not key.startswith(excluded) and AS_IF_ABSENT.get(key) != value
        },
        recipe_dir,
    )


def _relative(part: Part, recipe_dir: str) -> Part:
    return {
        key: portable(value, recipe_dir) if isinstance(value, str) else value for key, value in part.items()
    }


def portable(value: str, recipe_dir: str) -> str:
    """A value as a part has it: paths relative to the recipe, "@stats" for the automatic `stats_dir`."""
    return _AUTOMATIC.sub("@stats", value.replace(f"{recipe_dir}/", "./"))


def data_hash(config: Any, key: str) -> str:
    """A name for what the configuration says under `key`, such as dataset.train, with relative paths."""
    node = OmegaConf.select(config, key)
    value = OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
    part = _relative(flatten(value, key), str(config.recipe_dir))
    return hashlib.sha256(json.dumps(part, sort_keys=True, default=str).encode()).hexdigest()[:10]


def own_code(config: DictConfig, key: str = "") -> dict[str, str]:
    """The recipe's own Python files that make what is under `key`, by default everything -> SHA-256."""
    root = Path(config.recipe_dir)
    node = OmegaConf.to_container(OmegaConf.select(config, key) if key else config, resolve=True)
    return hash_code(code_files(flatten(node, key), (root, root.parent)), root)


def stats_hash(config: DictConfig) -> str:
    """The name of the folder of statistics: trainings with the same inputs share it."""
    text = json.dumps(stage_part(config, "collect_stats"), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def changes(old: Part, new: Part) -> list[str]:
    """The differences, one line each: "model.channels: 256 → 512"."""
    absent = "(absent)"
    return [
        f"{key}: {_shown(old.get(key, absent))} → {_shown(new.get(key, absent))}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key, absent) != new.get(key, absent)
    ]


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return value
    is_float = isinstance(value, float)
    return number_text(value, 12) if is_float else json.dumps(value)


def code_files(part: Part, roots: Iterable[Path]) -> list[Path]:
    """The recipe's own Python files that the `_target_`s in `part` import, directly or indirectly.

    Args:
        part: the configuration with the `_target_`s.
        roots: folders searched for top-level modules, in the order of sys.path.
    """
    roots = tuple(roots)
    targets = [str(value) for key, value in part.items() if key.rsplit(".", 1)[-1] == "_target_"]
    waiting = [target.rsplit(".", 1)[0] for target in targets if "." in target]
    files: set[Path] = set()
    while waiting:
        for path in _module_files(waiting.pop(), roots) - files:
            files.add(path)
            waiting += _imported_modules(path, roots)
    return sorted(files)


def _module_files(module: str, roots: tuple[Path, ...]) -> set[Path]:
    """The file of `module` and the __init__ files of the packages above it, if they lie below a root."""
    names = module.split(".")
    for root in roots:
        if (root / f"{names[0]}.py").is_file() or (root / names[0]).is_dir():
            files = {root.joinpath(*names[:depth], "__init__.py") for depth in range(1, len(names) + 1)}
            files |= {root.joinpath(*names[:depth]).with_suffix(".py") for depth in range(1, len(names) + 1)}
            return {path for path in files if path.is_file()}
    return set()


def _imported_modules(path: Path, roots: tuple[Path, ...]) -> list[str]:
    """Absolute names of what the file imports; relative imports are resolved against its root."""
    try:
        tree = ast.parse(path.read_bytes())
    except SyntaxError:
        return []  # the stage reports it with the line
    root = next(root for root in roots if path.is_relative_to(root))
    package = path.relative_to(root).parent.parts
    modules = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join([*above, *([node.module] if node.module else [])])
            modules += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    return modules
