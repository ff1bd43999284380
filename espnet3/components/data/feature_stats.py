"""Count, sum and sum of squares of features, and the mean and standard deviation that follow."""

from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from espnet3.errors import UserError, no_file, one_line
from espnet3.rundir.files.atomic import replace_file
from espnet3.rundir.files.reading import cannot_read

Array = NDArray[np.float64]
# A variance below this fraction of the mean square is rounding: the feature is constant.
CONSTANT = 1e-12


class FeatureStats:
    """Sums over frames in float64, one utterance after another.

    `sum` and `sum_square` have the shape of a frame: (D,) for features (T, D), () for (T,).
    """

    def __init__(self) -> None:
        self.count = 0
        self.sum: Array = np.zeros(())
        self.sum_square: Array = np.zeros(())

    def add(self, feature: NDArray) -> None:
        """Add the frames of one utterance, (T, ...).

        Each utterance is summed by itself and then added, so that the result depends on nothing but
        the order of the utterances.
        """
        frames = feature.astype(np.float64)
        self.count += len(frames)
        self.sum = self.sum + frames.sum(axis=0)
        self.sum_square = self.sum_square + np.square(frames).sum(axis=0)

    def merge(self, other: "FeatureStats") -> None:
        """Add the sums of further utterances."""
        self.count += other.count
        self.sum = self.sum + other.sum
        self.sum_square = self.sum_square + other.sum_square

    def write(self, path: Path) -> None:
        """Write `count`, `sum` and `sum_square` to an .npz file, atomically."""
        with replace_file(path, keep_same=True) as temporary, temporary.open("wb") as file:
            np.savez(file, count=self.count, sum=self.sum, sum_square=self.sum_square)


def load_stats(path: str | Path) -> tuple[Array, Array]:
    """Mean and standard deviation, each of the shape of a frame, from a file of collect_stats.

    A feature that is constant gets the deviation 1, so that normalizing by it makes zeros.

    Raises:
        UserError: the file is missing, can't be read, is damaged, holds something else, or counts no frames.
    """
    path = Path(path)
    if not path.is_file():
        problem = no_file(path)
        raise UserError(
            f"{path} {problem}: delete it, and run stage 1 (collect_stats)"
            if problem
            else f"no statistics at {path}; stage 1 (collect_stats) makes them"
        )
    again = "run stage 1 (collect_stats) again, with --force if it is skipped"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise cannot_read(error, path) from error
    try:
        count, total, squares = _sums(content)
    except Exception as error:  # a damaged file may raise anything
        raise UserError(f"{path} is not a file of collect_stats: {one_line(error)}; {again}") from error
    if count <= 0:
        raise UserError(f"{path} counts no frames; {again}")
    with np.errstate(over="ignore"):
        mean, mean_square = total / count, squares / count
        variance = mean_square - np.square(mean)
    if not np.isfinite(variance).all():
        raise UserError(f"{path} has sums that no features have; {again}")
    varies = variance > CONSTANT * mean_square
    return mean, np.sqrt(np.where(varies, variance, 1.0))


def _sums(content: bytes) -> tuple[Array, Array, Array]:
    """Count, sum and sum of squares in the content of a file; raises anything where it is damaged."""
    with np.load(BytesIO(content)) as stats:
        count, total, squares = (stats[key] for key in ("count", "sum", "sum_square"))
    for name, array in (("count", count), ("sum", total), ("sum_square", squares)):
        if array.dtype.kind not in "iuf" or not np.isfinite(array).all():
            raise ValueError(f"{name} holds what is no finite number")
    if count.shape or total.shape != squares.shape:
        raise ValueError(
            f"count, sum and sum_square have shapes {count.shape}, {total.shape}, {squares.shape}"
        )
    return count, total, squares
