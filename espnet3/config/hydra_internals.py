"""Private names of Hydra and OmegaConf that are needed because there is no public interface.

Any release may rename them. So `pyproject.toml` bounds Hydra's version from above, the contract test
`test_hydra_internals.py` names what an upgrade removed, and no other file uses a private name.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, ListConfig

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override


def unresolved(group: DictConfig | ListConfig, key: Any) -> Any:
    """The node at `key` of a group that has it; interpolations stay as they are."""
    return group._get_node(key)


def is_null(group: DictConfig) -> bool:
    """Whether a group is null instead of keys."""
    return group._is_none()


def with_element(override: "Override", element: Any, input_line: str) -> "Override":
    """`override` with the single value `element` in place of its several values.

    Parsing `input_line` would give another type: an element of `str(choice(1,2))` is shown as 1, but is text.

    Args:
        override: one with several values.
        element: a value from its `sweep_iterator`; a quoted one stays quoted.
        input_line: the text of the new override.
    """
    from hydra.core.override_parser.types import ValueType

    return replace(override, value_type=ValueType.ELEMENT, _value=element, input_line=input_line)
