"""Checks that the blocks of every recipe are there, and groups of keys, before anything reads them."""

from omegaconf import DictConfig, ListConfig, OmegaConf

from espnet3.config.checks.scored_splits import SPLITS
from espnet3.config.hydra_internals import unresolved
from espnet3.errors import UserError, nearest, suggestion
from espnet3.stage_table import STAGES

REQUIRED = (
    *(
        "manifests",
        "dataset",
        "collect_stats",
        "checkpoint",
        "sweep",
        "sweep.searcher",
        "trainer",
        "launcher",
    ),
    *("resources", *(f"resources.{stage}" for stage in STAGES)),
)
"""Groups of keys that stages and commands read."""
OPTIONAL = ("callbacks", "logger", "dataloader", "model", "prepare", "validate")
"""Groups of keys that may be null."""
ENTRY_KEYS = ("name", "dataset", "transform")
"""Keys of an entry of `dataset.train`, `valid` or `test`."""
KEYS = ("recipe_dir", "tag", "data_dir", "exp_dir", "stats_dir", "trainer.devices", "trainer.num_nodes")
"""Further keys that every recipe has."""
_LOOKS_MISTYPED = 0.8


def check_blocks(config: DictConfig, where: str) -> None:
    """Check the kind of every block of `config`, which need not be resolved.

    Args:
        config: composed from the file `where`.
        where: for messages.

    Raises:
        UserError: a block is missing or empty, or something else than a group of keys; or a stage of
            `resources` is unknown.
    """
    for key in (*REQUIRED, *OPTIONAL):
        parent, _, name = key.rpartition(".")
        group = OmegaConf.select(config, parent) if parent else config
        if not isinstance(group, DictConfig) or name not in group:
            if key in OPTIONAL:
                continue
            raise _missing(key, where)
        value = unresolved(group, name)
        if OmegaConf.is_interpolation(group, name):
            if key in (*OPTIONAL, "manifests", "dataset"):
                continue
            raise UserError(f"{key} of {where} is an interpolation, {value}: give its keys one by one")
        if key in OPTIONAL and group[name] is None:
            continue
        if not isinstance(group[name], DictConfig):
            given = "empty (null)" if group[name] is None else repr(group[name])
            raise UserError(
                f"{key} of {where} is {given}, and takes a group of keys (name: value): give some, or leave"
                " it out"
            )
    for key in KEYS:
        parent, _, name = key.rpartition(".")
        if name not in (config[parent] if parent else config):
            raise _missing(key, where)
    for stage in map(str, config.resources):
        if stage not in STAGES:
            raise UserError(f"resources.{stage}: there is no such stage; {suggestion(stage, STAGES)}")


def _missing(key: str, where: str) -> UserError:
    return UserError(
        f"{key} is missing in {where}: every recipe has it from `base`, which comes first in its `defaults`;"
        f" ~{key} can't be given"
    )


def check_entries(config: DictConfig) -> None:
    """Check the entries of `dataset`'s lists, of `callbacks` and of `logger` in the resolved `config`.

    Raises:
        UserError: naming the first that is of another shape.
    """
    for split in SPLITS if config.dataset.get("_target_") else ():
        entries = config.dataset.get(split)
        if entries is not None and not isinstance(entries, ListConfig):
            raise UserError(f"dataset.{split}={entries}: takes a list of entries, {{name: …, dataset: …}}")
        for position, entry in enumerate(entries or ()):
            where = f"dataset.{split}[{position}]"
            if not isinstance(entry, DictConfig):
                raise UserError(f"{where}={entry}: takes an entry, {{name: …, dataset: {{_target_: …}}}}")
            for key in map(str, entry):
                if key not in ENTRY_KEYS:
                    raise UserError(f"{where}: unknown key {key!r}; {suggestion(key, ENTRY_KEYS)}")
            if not isinstance(entry.get("name"), str) or not entry.name:
                raise UserError(f"{where}: `name` must be a string, given: {entry.get('name')!r}")
            if entry.get("dataset") is None:
                raise UserError(f"{where} ({entry.name!r}): `dataset` is missing")
    for group in ("callbacks", "logger"):
        for name, node in (config.get(group) or {}).items():
            if node is not None and not (isinstance(node, DictConfig) and "_target_" in node):
                raise UserError(f"{group}.{name}={node}: takes {{_target_: class, its arguments}}, or null")


def check_manifests(config: DictConfig) -> None:
    """Check the names in `manifests` of the resolved `config`, which are free, and their files.

    Raises:
        UserError: a manifest is no file name; or nothing reads it, and its name looks mistyped.
    """
    plain = OmegaConf.to_container(config)
    assert isinstance(plain, dict)
    read = _texts([node for key, node in plain.items() if key not in ("manifests", "prepare")])
    for name, path in plain["manifests"].items():
        if not isinstance(path, str) or not path.strip():
            raise UserError(f"manifests.{name}={path}: takes a file; ~manifests.{name} leaves it out")
        guess = nearest(str(name), SPLITS, cutoff=_LOOKS_MISTYPED)
        if guess and not str(name).startswith(guess) and path not in read:
            raise UserError(f"manifests.{name}: nothing reads {path}; did you mean manifests.{guess}?")


def _texts(node: object) -> set[str]:
    """All texts in nested dicts and lists."""
    if isinstance(node, dict):
        return set().union(*map(_texts, node.values()))
    if isinstance(node, list):
        return set().union(*map(_texts, node))
    return {node} if isinstance(node, str) else set()
