"""Hydra's private names: what sweeps need of Hydra and its public interface does not offer.

Any release may rename them. So `pyproject.toml` bounds Hydra's version from above, the contract test
`test_hydra_internals.py` says what an upgrade took away, and no other file uses a private name. OmegaConf is
used by its public interface alone.
"""

from dataclasses import replace
from typing import Any

from hydra.core.override_parser.types import Override, ValueType


def with_element(override: Override, element: Any, input_line: str) -> Override:
    """`override`, which holds several values, as if `element` had been given alone.

    Parsing `input_line` would not do: an element of `str(choice(1,2))` is shown as 1 and is no number.

    Args:
        override: of several values.
        element: one that its `sweep_iterator` gives: a quoted one stays quoted.
        input_line: the text that would have been typed.
    """
    return replace(override, value_type=ValueType.ELEMENT, _value=element, input_line=input_line)
