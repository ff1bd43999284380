"""Shape files: one line `uid 123,40` per utterance, as collect_stats writes and bucketed batches read."""

from collections.abc import Mapping
from pathlib import Path

from espnet3.errors import UserError
from espnet3.rundir.files.atomic import write_text
from espnet3.rundir.files.reading import read_text

Shape = tuple[int, ...]


def write_shape_file(path: Path, shapes: Mapping[str, Shape]) -> None:
    """Write the shapes by uid, in their order, atomically."""
    text = "".join(f"{uid} {','.join(map(str, shape))}\n" for uid, shape in shapes.items())
    write_text(path, text, keep_same=True)


def read_shape_file(path: Path) -> dict[str, Shape]:
    """The shapes by uid, in the file's order.

    Raises:
        UserError: for a file that is missing or has a broken line (`file:line`).
    """
    if not path.is_file():
        raise UserError(f"no shape file at {path}; stage 1 (collect_stats) makes it")
    shapes: dict[str, Shape] = {}
    try:
        lines = read_text(path).splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is no shape file: {error}; run stage 1 (collect_stats) again") from error
    for number, line in enumerate(lines, start=1):
        uid, _, numbers = line.rpartition(" ")
        try:
            shape = tuple(int(axis) for axis in numbers.split(","))
        except ValueError:
            shape = ()
        if not uid or min(shape, default=-1) < 0:
            raise UserError(
                f"{path}:{number}: {line!r} is not `uid 123,40`; run stage 1 (collect_stats) again"
            )
        shapes[uid] = shape
    return shapes
