"""Shape files: one line `uid 123,40` per utterance, as collect_stats writes and bucketed batches read."""

from collections.abc import Mapping
from pathlib import Path

from espnet3.errors import UserError
from espnet3.rundir.files.atomic import write_text

Shape = tuple[int, ...]


def write_shape_file(path: Path, shapes: Mapping[str, Shape]) -> None:
    """Write the shapes by uid, in their order, atomically."""
    write_text(path, "".join(f"{uid} {','.join(map(str, shape))}\n" for uid, shape in shapes.items()))


def read_shape_file(path: Path) -> dict[str, Shape]:
    """The shapes by uid, in the file's order.

    Raises:
        UserError: for a file that is missing or has a broken line (`file:line`).
    """
    if not path.is_file():
        raise UserError(f"no shape file at {path}; stage 1 (collect_stats) makes it")
    shapes: dict[str, Shape] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        uid, _, numbers = line.rpartition(" ")
        try:
            shape = tuple(int(axis) for axis in numbers.split(","))
        except ValueError:
            shape = ()
        if not uid or not shape:
            raise UserError(
                f"{path}:{number}: {line!r} is not `uid 123,40`; run stage 1 (collect_stats) again"
            )
        shapes[uid] = shape
    return shapes
