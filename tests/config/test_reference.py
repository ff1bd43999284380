"""The reference of keys, conf/README.md: the keys that the code takes, their defaults, and right examples."""

import inspect
import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from omegaconf import DictConfig, OmegaConf, open_dict

from espnet3.components.checkpoint.run_checkpoint import RunCheckpoint
from espnet3.components.data.checking.requirements import Requirements
from espnet3.components.data.data_organizer import ENTRY_KEYS, DataOrganizer
from espnet3.components.data.loading.collate import CommonCollateFn
from espnet3.components.data.loading.length_buckets import LengthBuckets
from espnet3.components.data.manifest import ManifestDataset
from espnet3.components.modeling.global_mvn import GlobalMVN
from espnet3.config.checks.dataloader import KEYS as DATALOADER_KEYS
from espnet3.config.checks.dataloader import OPTIONS, REFUSED
from espnet3.config.checks.named_optimizers import (
    OPTIMIZER_KEYS,
    SCHEDULER_KEYS,
    SINGLE_KEYS,
    NamedOptimizerConfig,
    NamedSchedulerConfig,
)
from espnet3.config.checks.optimizers import read_single_config
from espnet3.config.checks.schema import GROUPS, check_config
from espnet3.config.checks.targets.keys import VALIDATE_KEYS
from espnet3.config.compose import compose, find_recipe
from espnet3.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "conf" / "README.md").read_text()
BASE = yaml.safe_load((ROOT / "conf" / "base.yaml").read_text())
TRAINER = yaml.safe_load((ROOT / "conf" / "trainer" / "default.yaml").read_text())
CLASSES = (ManifestDataset, Requirements, CommonCollateFn, LengthBuckets, GlobalMVN)
REQUIRED = inspect.Parameter.empty


def arguments(function: Any) -> dict[str, Any]:
    """Arguments that can be given, and their defaults."""
    return {name: one.default for name, one in inspect.signature(function).parameters.items()}


def under(prefix: str, defaults: dict[str, Any]) -> dict[str, Any]:
    return {f"{prefix}.{key}": value for key, value in defaults.items()}


UNKNOWN = object()
"""A default that is torch's, or follows from other keys: the page tells it, nothing compares it."""
SINGLE = read_single_config({"optimizer": {}})
IN_CODE: dict[str, Any] = {
    "dataset._target_": REQUIRED,
    **under("dataset", arguments(DataOrganizer)),
    **under("dataset.train[]", {**dict.fromkeys(ENTRY_KEYS, REQUIRED), "transform": None}),
    **under("dataloader", dict.fromkeys(DATALOADER_KEYS)),
    **under("dataloader.train", dict.fromkeys(OPTIONS, UNKNOWN)),
    "model._target_": REQUIRED,
    **under("collect_stats", BASE["collect_stats"]),
    **dict(zip(SINGLE_KEYS, (REQUIRED, SINGLE.scheduler, SINGLE.interval, SINGLE.monitor), strict=True)),
    **under("optimizers.<name>", {key: arguments(NamedOptimizerConfig)[key] for key in OPTIMIZER_KEYS}),
    **under("schedulers.<name>", {key: arguments(NamedSchedulerConfig)[key] for key in SCHEDULER_KEYS}),
    **{f"trainer.{key}": TRAINER[key] for key in ("nonfinite_gradients", "hang_timeout_s")},
    **under("checkpoint", {key: BASE["checkpoint"][key] for key in list(arguments(RunCheckpoint))[1:-1]}),
    "validate._target_": REQUIRED,
    **under("validate", dict.fromkeys(VALIDATE_KEYS, UNKNOWN)),
}
for one in CLASSES:
    IN_CODE |= under(one.__name__, arguments(one))


class Row(NamedTuple):
    """A line of the page's tables."""

    key: str
    takes: str
    default: str
    what: str
    example: str

    @property
    def value(self) -> Any:
        return yaml.safe_load(self.example.strip("`"))


ROWS = [
    Row(key.strip("` "), *(cell.strip() for cell in cells))
    for key, *cells in (line.strip("|").split("|") for line in PAGE.splitlines() if line.startswith("| `"))
]
BLOCKS = re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL)
HOMES = {
    "ManifestDataset": "dataset.train[].dataset",
    "Requirements": "dataset.check",
    "CommonCollateFn": "dataloader.collate_fn",
    "LengthBuckets": "dataloader.train.iter_factory",
    "GlobalMVN": "model.normalize",
}
"""Where a stock class is used, so that its keys can be tried there."""


def test_the_page_names_each_key_once_and_no_other():
    assert sorted(row.key for row in ROWS) == sorted(IN_CODE)
    assert set(arguments(RunCheckpoint)) - {"directory", "heartbeat"} == set(BASE["checkpoint"])


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.key)
def test_a_key_has_its_default_a_meaning_and_an_example(row: Row):
    default = IN_CODE[row.key]
    if default is REQUIRED:
        assert row.default == ""
    elif default is not UNKNOWN:
        told = yaml.safe_load(row.default.strip("`"))
        assert told == (list(default) if isinstance(default, tuple) else default)
    else:
        assert row.default
    assert row.takes and len(row.what) > 5
    assert row.example.startswith("`") and row.value != IN_CODE[row.key]


@pytest.fixture(scope="module")
def recipe() -> DictConfig:
    test_sets = "dataset.test=[{name: test_other, dataset: {path: other.jsonl}}]"
    return compose(find_recipe(ROOT / "egs" / "TEMPLATE"), [test_sets])


def with_keys(recipe: DictConfig, changed: dict[str, Any]) -> DictConfig:
    """The recipe's configuration with other blocks, over the shared ones."""
    config = OmegaConf.create(OmegaConf.to_container(recipe))
    changed = {
        key: {**(BASE.get(key) or {}), **value} if isinstance(value, dict) else value
        for key, value in changed.items()
    }
    if {"optimizers", "schedulers"} & set(changed):
        changed = {"optimizer": None, **changed}
    with open_dict(config):
        config.update(changed)
    OmegaConf.resolve(config)
    return config


@pytest.mark.parametrize("block", BLOCKS, ids=[block.split(":")[0] for block in BLOCKS])
def test_an_example_of_a_block_is_right(recipe: DictConfig, block: str):
    check_config(with_keys(recipe, yaml.safe_load(block)))


def nested(key: str, value: Any) -> dict[str, Any]:
    """`a.b[].c` as nested mappings and lists, with what must stand beside it."""
    name, _, rest = key.partition(".")
    inner = nested(rest, value) if rest else value
    if name.endswith("[]"):
        return {name[:-2]: [{"name": "x", "dataset": {"_target_": "mine.Corpus"}, **inner}]}
    return {name.replace("<name>", "one"): inner}


def example_of(row: Row) -> dict[str, Any]:
    """The row's example in its place."""
    owner, _, argument = row.key.partition(".")
    if owner in HOMES:
        (made,) = (one for one in CLASSES if one.__name__ == owner)
        node = {"_target_": f"{made.__module__}.{owner}", argument: row.value}
        return nested(HOMES[owner], node)
    return nested(row.key, row.value)


BESIDE: dict[str, Any] = {
    "dataset": {"_target_": "espnet3.components.data.data_organizer.DataOrganizer"},
    "optimizers": {"one": {"optimizer": {"_target_": "torch.optim.Adam"}, "params": "classify"}},
    "schedulers": {"one": {"scheduler": {"_target_": "torch.optim.lr_scheduler.ExponentialLR", "gamma": 1}}},
    "validate": {"_target_": "evaluate.Accuracy"},
    "model": {"_target_": "mine.Model"},
    "optimizer": {},
    "trainer": TRAINER,
}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.key)
def test_an_example_of_a_key_is_right(recipe: DictConfig, row: Row):
    example = example_of(row)
    (top,) = example
    if "iter_factory" in str(example):
        example["dataloader"]["valid"] = example["dataloader"]["train"]
    whole = OmegaConf.to_container(OmegaConf.merge({top: BESIDE.get(top)}, example))
    if top == "schedulers":
        whole["optimizers"] = BESIDE["optimizers"]
    check_config(with_keys(recipe, whole))


@pytest.mark.parametrize("block", ["checkpoint", "collect_stats"])
def test_a_block_takes_the_keys_of_the_page_and_names_a_mistyped_one(recipe: DictConfig, block: str):
    keys = [row.key.partition(".")[2] for row in ROWS if row.key.startswith(f"{block}.")]
    assert sorted(keys) == sorted(GROUPS[block])
    with pytest.raises(UserError, match=rf"{block}\.{keys[-1]}s .* did you mean {keys[-1]}\?"):
        check_config(with_keys(recipe, {block: {f"{keys[-1]}s": 1}}))


@pytest.mark.parametrize("key", REFUSED)
def test_what_a_loader_refuses_is_said_on_the_page(recipe: DictConfig, key: str):
    assert f"`{key}`" in PAGE
    with pytest.raises(UserError, match="cannot be given"):
        check_config(with_keys(recipe, {"dataloader": {"train": {key: 1}}}))
