"""What a YAML file of configuration must be: keys and values, and no number in base 60.

YAML 1.1 reads the time limit 1:00:00 as the number 3600.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import IO

import yaml
from omegaconf import DictConfig, OmegaConf

from espnet3.errors import UserError, short_path

_BASE_60 = re.compile(r"[-+]?[1-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?")


def check_no_base_60(files: Iterable[Path]) -> None:
    """Check that no plain value of the YAML `files` is a number in base 60.

    Files that can't be read, and broken ones, are left to whoever loads them.

    Raises:
        UserError: naming file, line and value.
    """
    for file in files:
        try:
            text = file.read_text(encoding="utf-8")
            if not _BASE_60.search(text):
                continue  # parsing takes longer
            for event in yaml.parse(text, Loader=yaml.SafeLoader):
                if (
                    isinstance(event, yaml.ScalarEvent)
                    and event.implicit[0]
                    and _BASE_60.fullmatch(event.value)
                ):
                    line = event.start_mark.line + 1
                    raise UserError(
                        f"{short_path(file)}, line {line}: YAML reads {event.value} as a number in base 60:"
                        " give a time limit in minutes (90 for 1:30:00), and text in quotes"
                    )
        except (OSError, ValueError, yaml.YAMLError):
            continue


def load_keys(source: Path | IO[str]) -> DictConfig:
    """The keys and values of a file; none for an empty one. Interpolations stay as they are.

    Raises:
        ValueError: it holds something else, or is not UTF-8.
        yaml.YAMLError, OmegaConfBaseException, RecursionError, OSError: it is broken, or can't be read.
    """
    try:
        content = OmegaConf.load(source)
    except (AssertionError, OSError) as error:  # what OmegaConf raises for a single value
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise ValueError("the file takes a group of keys (name: value), not a single value") from error
    if not isinstance(content, DictConfig):
        raise ValueError("the file takes a group of keys (name: value), not a list")
    return content
