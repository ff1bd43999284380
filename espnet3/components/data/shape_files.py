"""Shape files: one line `uid 123,40` per utterance, as collect_stats writes and bucketed batches read."""

import re
from collections.abc import Mapping
from pathlib import Path

from espnet3.errors import UserError
from espnet3.rundir.files.atomic import write_text
from espnet3.rundir.files.reading import read_text

Shape = tuple[int, ...]
_NUMBERS = re.compile(r"[0-9]{1,18}(,[0-9]{1,18})*")


def write_shape_file(path: Path, shapes: Mapping[str, Shape]) -> None:
    """Write the shapes by uid, in their order, atomically."""
    text = "".join(f"{uid} {','.join(map(str, shape))}\n" for uid, shape in shapes.items())
    write_text(path, text, keep_same=True)


def read_shape_file(path: Path) -> dict[str, Shape]:
    """The shapes by uid, in the file's order.

    Raises:
        UserError: for a file that is missing, can't be read, is no text, or has a broken line (`file:line`).
    """
    try:
        text = read_text(path)
    except FileNotFoundError:
        raise UserError(f"no shape file at {path}; stage 1 (collect_stats) makes it") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is no text in UTF-8 ({error}); run stage 1 (collect_stats) again") from error
    shapes: dict[str, Shape] = {}
    for number, line in enumerate(text.removesuffix("\n").split("\n") if text else (), start=1):
        uid, _, numbers = line.rpartition(" ")
        shape = tuple(int(axis) for axis in numbers.split(",")) if _NUMBERS.fullmatch(numbers) else ()
        if not uid or not shape:
            raise UserError(
                f"{path}:{number}: {line!r} is not `uid 123,40`; run stage 1 (collect_stats) again"
            )
        shapes[uid] = shape
    return shapes
