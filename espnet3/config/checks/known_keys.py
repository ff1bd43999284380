"""Which keys a configuration may have, beyond those that it has: who takes them."""

from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import ConfigIndexError, GrammarParseError

from espnet3.config.checks.dataloader import KEYS as DATALOADER_KEYS
from espnet3.config.checks.dataloader import OPTIONS, SPLITS
from espnet3.config.checks.named_optimizers import OPTIMIZER_KEYS, SCHEDULER_KEYS
from espnet3.config.checks.targets.keys import HYDRA, VALIDATE_KEYS, keywords, search_roots
from espnet3.config.checks.trainer_keys import ARGUMENTS, OURS
from espnet3.config.flat import flat_keys
from espnet3.config.hydra_internals import is_null, unresolved
from espnet3.errors import UserError, suggestion
from espnet3.stage_table import STAGES

TOP = (
    *("recipe_dir", "tag", "data_dir", "exp_dir", "stats_dir", "manifests", "collect_stats"),
    *("seed", "init_from", "checkpoint", "callbacks", "dataset", "dataloader", "model", "trainer"),
    *("optimizer", "scheduler", "scheduler_interval", "scheduler_monitor", "optimizers", "schedulers"),
    *("logger", "resources", "launcher", "sweep", "num_device", "check_data"),
)
"""Keys at the top level that have a meaning, besides settings of stages; a recipe may add others."""


def has_key(config: DictConfig, key: str) -> bool:
    """Whether `config` has the dotted `key`; list positions are parts of it. Nothing is resolved."""
    node: Any = config
    for part in key.split("."):
        if isinstance(node, DictConfig) and not is_null(node) and part in node:
            node = unresolved(node, part)
        elif isinstance(node, ListConfig) and part.isdecimal() and int(part) < len(node):
            node = unresolved(node, int(part))
        else:
            return False
    return True


def top_keys() -> tuple[str, ...]:
    """Keys at the top level that have a meaning; a recipe may add others."""
    return (*TOP, *(key for stage in STAGES.values() for key in stage.settings))


def taker(config: DictConfig, key: str) -> str:
    """Who takes the dotted `key`, which `config` need not have: "torch.optim.Adam"; empty: nobody known."""
    group, _, last = key.rpartition(".")
    if not group:
        return "a recipe" if last in top_keys() else ""
    blocks = {
        "trainer": ("Lightning's Trainer", (*ARGUMENTS, *OURS)),
        "validate": ("stage 3", VALIDATE_KEYS),
        "dataloader": ("the dataloader", DATALOADER_KEYS),
        **{f"dataloader.{split}": ("the dataloader", OPTIONS) for split in SPLITS},
    }
    if group in blocks and last in blocks[group][1]:
        return blocks[group][0]
    block, _, name = group.partition(".")
    named = {"optimizers": OPTIMIZER_KEYS, "schedulers": SCHEDULER_KEYS}.get(block, ())
    if name and "." not in name and last in named and has_key(config, group):
        return f"one of {block}"
    node = OmegaConf.select(config, group) if has_key(config, group) else None
    if not isinstance(node, DictConfig) or not isinstance(target := node.get("_target_"), str):
        return ""
    return target if last in (*HYDRA, *(keywords(target, search_roots(config)) or ())) else ""


def check_depends_on(config: DictConfig) -> None:
    """Check `collect_stats.depends_on` of `config`, which need not be resolved.

    A key that nothing has decides nothing: statistics would stay as they are when they should change.

    Raises:
        UserError: it is no list of keys, or names one that neither `config` has nor anybody takes.
    """
    where = "collect_stats.depends_on"
    given = OmegaConf.select(config, where)
    keys = list(given) if isinstance(given, ListConfig) else None
    if not keys or not all(isinstance(key, str) and all(key.split(".")) for key in keys):
        raise UserError(
            f"{where}={given}: takes a list of keys, such as [dataset, dataloader.collate_fn, model]"
        )
    for key in keys:
        try:
            OmegaConf.select(config, key)
        except (ConfigIndexError, GrammarParseError) as error:
            raise UserError(f"{where}: {key!r} is no dotted key, such as dataset.train") from error
        if not (has_key(config, key) or OmegaConf.select(config, key) is not None or taker(config, key)):
            group = key.partition(".")[0]
            if group in TOP and OmegaConf.select(config, group) is None:
                raise UserError(f"{group} is missing or empty, and {where} names {key}")
            hint = suggestion(
                key, flat_keys(OmegaConf.to_container(config, resolve=False)), otherwise="give one that is"
            )
            raise UserError(f"{where}: {key} is no key of the configuration; {hint}")
