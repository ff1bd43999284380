"""Several named datasets as one, whose items are (uid, data) after transform and preprocessor.

A dataset is anything with `__len__` and `__getitem__(int) -> dict`. It may also have

- `uids() -> Sequence[str]`: the uid of every sample without reading audio (bucketed batches ask for it),
- `files() -> Iterable[Path]`: what it reads, so that a stage runs again when one of them changes,
- `listed(index) -> ListedAudio`: a sample's line in a manifest and its audio file, which errors name, and
  which are checked before any stage reads them (see `manifest`).
"""

import copy
import inspect
import logging
import traceback
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from espnet3.components.data.seeding import derived_seed, global_rngs_kept, seed_global_rngs
from espnet3.errors import TracedError, UserError, short_path

logger = logging.getLogger(__name__)

Sample = dict[str, Any]
Transform = Callable[..., Sample]


class BadSample(UserError):
    """A sample could not be made by the user's mistake; stays one line when raised in a worker process."""

    def __init__(self, message: str) -> None:
        # A loader builds the exception again from "Caught BadSample in ...", a traceback and the message.
        before, _, text = message.rstrip().rpartition(f"{type(self).__name__}: ")
        super().__init__(text)
        self._in_worker = before


class SampleError(BadSample, TracedError):
    """A sample could not be made by an error of the code; names its entry, uid and file."""

    @property
    def trace(self) -> str:
        """The traceback of the code that failed, also in a worker process; empty if none did."""
        cause = self.__cause__
        return self._in_worker or ("".join(traceback.format_exception(cause)) if cause else "")


class SampleSource(Protocol):
    """What every dataset of an entry must be able to do."""

    def __len__(self) -> int:
        """Count the samples."""

    def __getitem__(self, index: int, /) -> Sample:
        """Read one sample."""


@dataclass(frozen=True)
class DatasetEntry:
    """One entry of a list: a named dataset and its transform."""

    name: str
    dataset: SampleSource
    transform: Transform | None
    where: str
    """Its name in errors: `dataset.train[0] ('mini')`."""


@dataclass(frozen=True)
class _Step:
    """A transform or the preprocessor, and how to call it."""

    role: str
    call: Transform
    takes_rng: bool
    takes_uid: bool
    """Called as `(uid, data)`, as ESPnet's preprocessors are."""


class CombinedDataset(torch.utils.data.Dataset[tuple[str, Sample]]):
    """The entries of one split, one after another.

    An item's key is an index, a uid or `(epoch, index)`; without an epoch it is epoch 0. The item is
    `(uid, data)`: `uid` is the sample's own or `<name>-<index within its entry>`, and `data` the sample dict
    without it.

    The entry's transform and then the preprocessor get the sample dict (with `uid`) and return a dict; one
    whose first argument is called `uid` gets `(uid, data)`, as ESPnet's preprocessors do. One that
    takes an `rng` keyword gets a `numpy.random.Generator` seeded by (seed, epoch, uid), and the global
    generators of Python, NumPy and torch are seeded by the same around the calls and put back afterwards:
    what they draw depends neither on the worker nor on the order of reading. While a dataset reads, the
    global generators are seeded by (seed, epoch, name, index), its uid being unknown yet.

    Args:
        entries: the entries, with different names.
        preprocessor: applied to every sample after its entry's transform.
        seed: of what transforms draw; None takes the data loader's, and 0 outside one.

    Raises:
        SampleError: from `[]`, when reading or transforming a sample fails, naming entry and uid
            (BadSample, a UserError, when the cause is one). IndexError when the index is out of range.
    """

    def __init__(
        self,
        entries: Iterable[DatasetEntry],
        *,
        preprocessor: Transform | None = None,
        seed: int | None = None,
    ) -> None:
        self.entries: dict[str, DatasetEntry] = {entry.name: entry for entry in entries}
        self.seed = seed
        self._entries = list(self.entries.values())
        self._keep([range(len(entry.dataset)) for entry in self._entries])
        self._left_out_by: Path | None = None
        self._steps = [_steps(entry.transform, preprocessor) for entry in self._entries]
        self._uids: list[str] | None = None
        self._index: dict[str, int] | None = None

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def only(self, name: str) -> "CombinedDataset":
        """The entry `name` alone; its samples are the same.

        Raises:
            KeyError: there is no such entry.
        """
        one, entry = copy.copy(self), self.entries[name]
        one.entries, one._entries = {name: entry}, [entry]
        one._steps = [self._steps[list(self.entries).index(name)]]
        one._uids = one._index = None
        one._keep([self._kept[list(self.entries).index(name)]])
        return one

    def without(self, left_out: Mapping[str, Mapping[int, str]], listed_in: Path) -> "CombinedDataset":
        """The same data without some samples; the others draw the same random numbers as before.

        Args:
            left_out: name of an entry -> index in it -> uid.
            listed_in: the file that says so, one of `files()` from now on.

        Raises:
            UserError: the list is of other data.
        """
        rest = copy.copy(self)
        rest._left_out_by, rest._uids, rest._index = listed_in, None, None
        kept: list[Sequence[int]] = []
        for entry in self._entries:
            without = left_out.get(entry.name, {})
            size = len(entry.dataset)
            uids: Any = entry.dataset.uids() if without and hasattr(entry.dataset, "uids") else None
            if any(index >= size or (uids and str(uids[index]) != uid) for index, uid in without.items()):
                raise UserError(f"{listed_in} lists other data than {entry.where} has; run stage 1 again")
            kept.append([index for index in range(size) if index not in without])
        rest._keep(kept)
        return rest

    def _keep(self, kept: list[Sequence[int]]) -> None:
        """Have these samples of each entry, in their order."""
        self._kept = kept
        self._ends = list(accumulate(map(len, kept)))

    def with_default_seed(self, seed: int) -> "CombinedDataset":
        """The same data, whose transforms draw from `seed` unless a seed was given to it already."""
        if self.seed is not None:
            return self
        seeded = copy.copy(self)
        seeded.seed = seed
        return seeded

    def __getitem__(self, key: int | str | tuple[int, int]) -> tuple[str, Sample]:
        if isinstance(key, str):
            key = self.index(key)
        epoch, index = key if isinstance(key, tuple) else (0, key)
        number, local = self._locate(index)
        entry, steps = self._entries[number], self._steps[number]
        seed = self.seed or 0
        with global_rngs_kept():
            seed_global_rngs(derived_seed(seed, epoch, entry.name, local))
            sample = _read(entry, local)
            uid = _uid_of(sample, entry, local)
            if steps:
                entropy = derived_seed(seed, epoch, uid)
                seed_global_rngs(entropy)
                rng = np.random.default_rng(entropy)
                for step in steps:
                    sample = _apply(step, sample, rng, entry, uid, local)
        return uid, {name: value for name, value in sample.items() if name != "uid"}

    def uids(self) -> list[str]:
        """The uid of every sample, in order of the index; datasets without `uids()` are read once.

        Raises:
            UserError: when two samples have the same uid.
        """
        if self._uids is None:
            uids: list[str] = []
            entry_of: dict[str, str] = {}
            for entry, kept in zip(self._entries, self._kept, strict=True):
                for uid in self._uids_of(entry, kept):
                    if uid in entry_of:
                        raise UserError(f"uid {uid!r} occurs twice: in {entry_of[uid]} and in {entry.where}")
                    entry_of[uid] = entry.where
                    uids.append(uid)
            self._uids = uids
        return self._uids

    def index(self, uid: str) -> int:
        """The index of the sample with this uid.

        Raises:
            KeyError: there is none.
        """
        if self._index is None:
            self._index = {known: index for index, known in enumerate(self.uids())}
        return self._index[uid]

    def files(self) -> list[Path]:
        """The files that the datasets say they read, and the list of what is left out."""
        return [
            *([self._left_out_by] if self._left_out_by else []),
            *(
                Path(file)
                for entry in self._entries
                if hasattr(entry.dataset, "files")
                for file in entry.dataset.files()
            ),
        ]

    def modules(self) -> set[str]:
        """The modules that a process which reads the data imports."""
        calls = [step.call for steps in self._steps for step in steps]
        return {source.__module__ for source in (*(entry.dataset for entry in self._entries), *calls)}

    def _locate(self, index: int) -> tuple[int, int]:
        """The entry's number and the index in it."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"index {index} of {len(self)} samples")
        index %= len(self)
        number = bisect_right(self._ends, index)
        return number, self._kept[number][index - (self._ends[number - 1] if number else 0)]

    def _uids_of(self, entry: DatasetEntry, kept: Sequence[int]) -> list[str]:
        if hasattr(entry.dataset, "uids"):
            uids = entry.dataset.uids()
            return [str(uids[index]) for index in kept]
        logger.info("%s has no uids(): reading its %d samples to get them", entry.where, len(kept))
        with global_rngs_kept():
            return [_uid_of(_read(entry, index), entry, index) for index in kept]


def _steps(transform: Transform | None, preprocessor: Transform | None) -> list[_Step]:
    named = (("transform", transform), ("preprocessor", preprocessor))
    return [
        _Step(role, call, "rng" in _parameters(call), _parameters(call)[:1] == ["uid"])
        for role, call in named
        if call is not None
    ]


def _read(entry: DatasetEntry, index: int) -> Sample:
    with _naming_errors(entry, index, lambda: _sample_name(entry, index)):
        sample = entry.dataset[index]
    return _checked(sample, entry, lambda: _sample_name(entry, index), "the dataset's []")


def _apply(
    step: _Step, sample: Sample, rng: np.random.Generator, entry: DatasetEntry, uid: str, index: int
) -> Sample:
    with _naming_errors(entry, index, lambda: f"uid {uid!r}", f"in the {step.role}: "):
        more = {"rng": rng} if step.takes_rng else {}
        if step.takes_uid:
            data = {key: value for key, value in sample.items() if key != "uid"}
            result = step.call(uid, data, **more)
        else:
            result = step.call(sample, **more)
    return _checked(result, entry, lambda: f"uid {uid!r}", f"the {step.role}")


@contextmanager
def _naming_errors(
    entry: DatasetEntry, index: int, sample: Callable[[], str], doing: str = ""
) -> Iterator[None]:
    """Raise errors from inside again, with the entry, the sample and its audio file in the message."""
    try:
        yield
    except UserError as error:
        file = _file_of(entry, index) if doing else ""  # the dataset's own message names it
        raise BadSample(f"{entry.where}, {sample()}{file}: {doing}{error}") from error
    except Exception as error:
        reason = " ".join(str(error).split())
        where = f"{entry.where}, {sample()}{_file_of(entry, index)}"
        raise SampleError(f"{where}: {doing}{type(error).__name__}: {reason}") from error


def _checked(sample: Any, entry: DatasetEntry, which: Callable[[], str], source: str) -> Sample:
    """A copy of the sample dict: a transform that adds keys must not change what a dataset keeps."""
    if not isinstance(sample, dict):
        raise SampleError(f"{entry.where}, {which()}: {source} gave {type(sample).__name__}, not a dict")
    return dict(sample)


def _sample_name(entry: DatasetEntry, index: int) -> str:
    """The name in errors of a sample that could not be read: its uid where the dataset has `uids()`."""
    return f"uid {entry.dataset.uids()[index]!r}" if hasattr(entry.dataset, "uids") else f"sample {index}"


def _file_of(entry: DatasetEntry, index: int) -> str:
    """The audio file of a sample, in brackets, where the dataset has `listed()`."""
    return f" ({short_path(entry.dataset.listed(index).audio)})" if hasattr(entry.dataset, "listed") else ""


def _uid_of(sample: Sample, entry: DatasetEntry, index: int) -> str:
    uid = sample.get("uid")
    if uid is None:
        return f"{entry.name}-{index}"
    text = str(uid)
    if not isinstance(uid, str | int) or not text or not text.isprintable() or text != text.strip():
        raise SampleError(f"{entry.where}, sample {index}: uid {uid!r} is not a plain string")
    return text


def _parameters(call: Transform) -> list[str]:
    try:
        return list(inspect.signature(call).parameters)
    except (TypeError, ValueError):  # some built-ins have no signature
        return []
