"""Dataclasses as small JSON files that other versions of espnet3 can read, too.

Each file has a format number. Unknown keys are ignored, as a later version may write more. A file whose
number is higher than FORMAT is refused: ignoring its unknown keys would be wrong.
"""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from espnet3.errors import UserError, short_path
from espnet3.rundir.files.atomic import write_json
from espnet3.rundir.files.plain_types import field_names, wrong_field
from espnet3.rundir.files.reading import parse_json, read_text

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

FORMAT = 1
"""Of all files of a run or sweep directory; it is raised when an earlier version would misread one."""
KEY = "format"

Kind = TypeVar("Kind")


def write_dataclass(path: Path, record: "DataclassInstance", *, durable: bool = True) -> None:
    """Replace `path` by `record`, atomically; its folder must exist. `durable`: see `write_json`."""
    # the fields as they are: asdict would copy all that is in them, which costs more than writing it
    content = {field.name: getattr(record, field.name) for field in fields(record)}
    write_json(path, with_format(content), durable=durable)


def read_dataclass(kind: type[Kind], path: Path) -> Kind | None:
    """The dataclass `kind` in `path`; None if the file is missing, or its content is damaged.

    Raises:
        UserError: written by a newer version, or the file can't be read: what it holds is not known.
    """
    try:
        return from_plain(kind, read_plain(path))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def with_format(content: Mapping[str, Any]) -> dict[str, Any]:
    """`content` with the format number."""
    return {KEY: FORMAT, **content}


def read_plain(path: Path) -> dict[str, Any]:
    """The object in `path`, without the format number; a file without one has format 1.

    Raises:
        FileNotFoundError: there is none.
        ValueError: its content is damaged.
        UserError: written by a newer version, or the file can't be read.
    """
    content = parse_json(read_text(path))
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds no object")
    number = content.pop(KEY, 1)
    if not isinstance(number, int):
        raise ValueError(f"{path} has {KEY} {number}")
    if number > FORMAT:
        raise UserError(
            f"{short_path(path)} has format {number}, and this version of espnet3 reads formats up to"
            f" {FORMAT}: update espnet3"
        )
    return content


def from_plain(kind: type[Kind], content: Mapping[str, Any]) -> Kind:
    """The dataclass `kind` from its fields in `content`; other keys are ignored.

    Raises:
        TypeError: a field is missing or has another type, also inside of another.
    """
    if wrong := wrong_field(content, kind):
        raise TypeError(f"{kind.__name__}.{wrong} is missing, or of another type")
    known = field_names(kind)
    return kind(**{name: value for name, value in content.items() if name in known})
