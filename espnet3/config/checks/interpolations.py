"""Says of an interpolation (`${…}`) without a value where it is written, and what would be right."""

import re
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from espnet3.config.flat import flat_keys, flatten
from espnet3.errors import nearest, one_line, suggestion

RESOLVERS = ("oc.env", "oc.select", "oc.decode", "oc.create", "max", "times")
"""What may stand before the colon of an interpolation."""
_NO_KEY = re.compile(r"Interpolation key '(.*)' not found")
_NO_VARIABLE = re.compile(r"Environment variable '(.*)' not found")
_NO_RESOLVER = re.compile(r"Unsupported interpolation type (\S+)")


def explain(error: OmegaConfBaseException, config: DictConfig | None) -> tuple[str, str]:
    """The key that holds a broken interpolation, and what is wrong, in one line.

    OmegaConf names the key that it was about to resolve, which may refer to the mistaken one over others.

    Args:
        error: of resolving `config`.
        config: where the interpolation is looked for; None if it is not known.

    Returns:
        The key, empty if there is none; and OmegaConf's words where the mistake is another one.
    """
    text = reason(error)
    key = str(getattr(error, "full_key", None) or "")
    values = flatten(OmegaConf.to_container(config, resolve=False)) if config is not None else {}
    if found := _NO_VARIABLE.search(text):
        name = found[1]
        return (
            _holder(values, key, rf"\$\{{\s*oc\.env\s*:\s*{re.escape(name)}\s*[,}}]"),
            f"the environment variable {name} is not set: export {name}=VALUE, or give what is taken without"
            f" it, ${{oc.env:{name},VALUE}}",
        )
    if found := _NO_RESOLVER.search(text):
        name = found[1]
        hint = suggestion(name, RESOLVERS)
        return _holder(values, key, rf"\$\{{\s*{re.escape(name)}\s*:"), f"there is no ${{{name}:…}}; {hint}"
    if found := _NO_KEY.search(text):
        name = found[1]
        where = _holder(values, key, rf"\$\{{\s*\.*{re.escape(name)}\s*\}}")
        return where, f"${{{name}}} names a key that is not there; {_hint(name, where, config)}"
    return key, text


def reason(error: BaseException) -> str:
    """An exception's message in one line, without OmegaConf's account of its own objects."""
    return one_line(str(error).partition("\n    full_key:")[0] or type(error).__name__)


def _holder(values: dict[str, Any], key: str, pattern: str) -> str:
    """The key whose value has what matches `pattern`: `key`, if it does, else the first one, else `key`."""
    holders = [one for one, value in values.items() if isinstance(value, str) and re.search(pattern, value)]
    return key if key in holders or not holders else holders[0]


def _hint(name: str, where: str, config: DictConfig | None) -> str:
    known = flat_keys(OmegaConf.to_container(config, resolve=False)) if config is not None else []
    group, last = where.rpartition(".")[0], name.rpartition(".")[2]
    same_name = [one for one in known if one.rpartition(".")[2] == last and one != where]
    siblings = [one for one in known if one.rpartition(".")[0] in (name.rpartition(".")[0], group)]
    similar = nearest(last, [one.rpartition(".")[2] for one in siblings])
    guess = (
        (same_name[0] if len(same_name) == 1 else "")
        or next((one for one in siblings if one != where and one.rpartition(".")[2] == similar), "")
        or nearest(name, [one for one in known if one != where], cutoff=0.8)
    )
    return f"did you mean ${{{guess}}}?" if guess else f"give it a value: +{name}=VALUE, or in a file"
