"""Samples of different length as one batch: padded tensors and their lengths."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from espnet3.errors import UserError

Batch = tuple[list[str], dict[str, Any]]


class CommonCollateFn:
    """`[(uid, data), ...]` to `(uids, batch)`.

    - An array, a tensor or a list of numbers with at least one axis is padded along the first to
      `(B, T, ...)`, and `<key>_lengths` (B,) int64 is added.
    - Keys in `not_sequence` have one shape in all samples and are stacked, without lengths.
    - Numbers are stacked to (B,), without lengths. Anything else (strings) stays a list of B.

    Args:
        int_pad_value: fills up integers; False fills up booleans.
        float_pad_value: fills up floating-point (and complex) values.
        not_sequence: keys whose first axis is not time.

    Raises:
        UserError: from the call, naming uid and key: a key that a sample lacks, kinds of number or
            trailing axes that differ, or a key that ends in `_lengths`.
    """

    def __init__(
        self, int_pad_value: int = -1, float_pad_value: float = 0.0, not_sequence: Sequence[str] = ()
    ) -> None:
        self.int_pad_value = int_pad_value
        self.float_pad_value = float_pad_value
        self.not_sequence = frozenset(not_sequence)

    def __call__(self, samples: Sequence[tuple[str, dict[str, Any]]]) -> Batch:
        """Make one batch of at least one sample."""
        uids = [uid for uid, _ in samples]
        _check_keys(samples)
        batch: dict[str, Any] = {}
        for key in samples[0][1]:
            values = [_as_tensor(data[key]) for _, data in samples]
            if not all(isinstance(value, torch.Tensor) for value in values):
                _check_no_tensor(key, uids, values)
                batch[key] = values
                continue
            dtype = _dtype(key, uids, values)
            if values[0].ndim == 0 or key in self.not_sequence:
                _check_shapes(key, uids, values, first_axis=0)
                batch[key] = torch.stack([value.to(dtype) for value in values])
            else:
                _check_shapes(key, uids, values, first_axis=1)
                batch[key] = self._padded(values, dtype)
                batch[f"{key}_lengths"] = torch.tensor([len(value) for value in values])
        return uids, batch

    def _padded(self, values: list[torch.Tensor], dtype: torch.dtype) -> torch.Tensor:
        if dtype.is_floating_point or dtype.is_complex:
            fill: float = self.float_pad_value
        else:
            fill = False if dtype is torch.bool else self.int_pad_value
        longest = max(len(value) for value in values)
        padded = torch.full((len(values), longest, *values[0].shape[1:]), fill, dtype=dtype)
        for row, value in zip(padded, values, strict=True):
            row[: len(value)] = value
        return padded


def _as_tensor(value: Any) -> Any:
    """Numbers and arrays of numbers as a tensor; anything else as it is."""
    if isinstance(value, torch.Tensor):
        return value
    if isinstance(value, np.ndarray | np.generic | bool | int | float | complex):
        array = np.asarray(value)
        if array.dtype.kind == "u":
            array = array.astype(np.int64)  # so that a negative padding differs from every value
        if array.dtype.kind not in "bifc":
            return value
        if isinstance(value, float) and not isinstance(value, np.generic):
            array = array.astype(np.float32)
        # torch refuses negative strides, and warns about memory that cannot be written
        return torch.from_numpy(array if array.flags.writeable and array.flags.c_contiguous else array.copy())
    if isinstance(value, list | tuple) and all(isinstance(v, bool | int | float) for v in value):
        return torch.tensor(value)
    return value


def _check_keys(samples: Sequence[tuple[str, dict[str, Any]]]) -> None:
    first_uid, first = samples[0]
    for key in first:
        if key.endswith("_lengths"):
            raise UserError(f"uid {first_uid!r}: key {key!r}: *_lengths are made when samples are collated")
    for uid, data in samples:
        for key in first.keys() ^ data.keys():
            lacks, has = (uid, first_uid) if key in first else (first_uid, uid)
            raise UserError(f"uid {lacks!r} has no key {key!r}, but uid {has!r} in the same batch has it")


def _check_no_tensor(key: str, uids: list[str], values: list[Any]) -> None:
    """Either all values of a key are numbers, or none."""
    kinds = [isinstance(value, torch.Tensor) for value in values]
    if any(kinds):
        odd, number = kinds.index(False), kinds.index(True)
        raise UserError(
            f"uid {uids[odd]!r}, key {key!r}: {type(values[odd]).__name__},"
            f" but numbers in uid {uids[number]!r} of the same batch"
        )


def _dtype(key: str, uids: list[str], values: list[torch.Tensor]) -> torch.dtype:
    """The common type of all values; empty ones do not count, since `[]` has no type of its own."""
    filled = [(uid, value.dtype) for uid, value in zip(uids, values, strict=True) if value.numel()]
    if not filled:
        return values[0].dtype
    first_uid, dtype = filled[0]
    for uid, other in filled[1:]:
        if _kind(other) != _kind(dtype):
            raise UserError(f"key {key!r} is {dtype} in uid {first_uid!r} and {other} in uid {uid!r}")
        dtype = torch.promote_types(dtype, other)
    return dtype


def _kind(dtype: torch.dtype) -> str:
    if dtype.is_complex:
        return "complex"
    if dtype.is_floating_point:
        return "float"
    return "bool" if dtype is torch.bool else "int"


def _check_shapes(key: str, uids: list[str], values: list[torch.Tensor], first_axis: int) -> None:
    """All values have the same axes from `first_axis` on."""
    first = values[0].shape
    for uid, value in zip(uids, values, strict=True):
        if value.ndim != len(first) or value.shape[first_axis:] != first[first_axis:]:
            raise UserError(
                f"uid {uid!r}, key {key!r}: shape {tuple(value.shape)} does not match"
                f" {tuple(first)} of uid {uids[0]!r} in the same batch"
            )
