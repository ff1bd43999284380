"""The `dataset:` block of a configuration: lists of named datasets for train, valid and test.

dataset:
  _target_: espnet3.components.data.data_organizer.DataOrganizer
  train:
    - name: mini                        # names errors and samples without a uid
      dataset: {_target_: ...}          # __len__ and [] -> dict
      transform: {_target_: ...}        # optional: dict -> dict
  valid: [...]
  test: [...]                           # each entry is a test set, scored under its name
  preprocessor: {_target_: ...}         # optional: dict -> dict, after each transform
  check: {_target_: ...}                # optional: what the recipe needs of every utterance
  on_bad: error                         # what the check of the data does about unusable ones
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from espnet3.components.data.checking.utterance import Utterance
from espnet3.components.data.combined_dataset import CombinedDataset, DatasetEntry, Transform
from espnet3.components.data.instantiation import instantiate_node
from espnet3.config.checks.blocks import ENTRY_KEYS
from espnet3.config.checks.scored_splits import check_test_set_name
from espnet3.errors import UserError, suggestion
from espnet3.rundir.records.data_check import ON_BAD


class KeyedDataset:
    """A dataset whose samples are found by uid, as ESPnet's are, read by position.

    Args:
        dataset: with `keys()`, the uids, and `[uid]`, which gives a dict; perhaps `files()`.
    """

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset
        self._uids = [str(key) for key in list(dataset.keys())]

    def __len__(self) -> int:
        return len(self._uids)

    def __getitem__(self, index: int) -> Any:
        uid = self._uids[index]
        sample = self._dataset[uid]
        return {"uid": uid, **sample} if isinstance(sample, Mapping) else sample

    def uids(self) -> list[str]:
        """The keys, in their order."""
        return self._uids

    def files(self) -> list[Any]:
        """The files that the dataset says it reads."""
        return list(self._dataset.files()) if hasattr(self._dataset, "files") else []


class DataOrganizer:
    """`train`, `valid` and `test`, each one `CombinedDataset`; a list that is absent makes an empty one.

    Args:
        train: entries `{name, dataset, transform}`, whose datasets and transforms are objects already.
        valid: as `train`.
        test: as `train`; each entry is a test set of its own.
        preprocessor: applied to every sample of all lists, after the entry's transform.
        seed: of what random transforms draw; None takes the data loader's, and 0 outside one.
        check: called with each Utterance when the data are checked, before stage 1; gives texts that say
            what is wrong with it. `checking.requirements.Requirements` is one.
        on_bad: what happens to unusable utterances: `error` stops before stage 1, `skip` leaves them out in
            every stage.

    Raises:
        UserError: for an entry of another shape or a name given twice, naming list and position.
    """

    def __init__(
        self,
        train: Iterable[Mapping[str, Any]] | None = None,
        valid: Iterable[Mapping[str, Any]] | None = None,
        test: Iterable[Mapping[str, Any]] | None = None,
        preprocessor: Transform | None = None,
        seed: int | None = None,
        check: Callable[[Utterance], Iterable[str]] | None = None,
        on_bad: str = "error",
    ) -> None:
        if check is not None and not callable(check):
            raise UserError(f"dataset.check: {type(check).__name__} cannot be called")
        if on_bad not in ON_BAD:
            raise UserError(f"dataset.on_bad={on_bad}: takes {' or '.join(ON_BAD)}")
        self.check, self.on_bad = check, on_bad
        if preprocessor is not None and not callable(preprocessor):
            raise UserError(f"dataset.preprocessor: {type(preprocessor).__name__} cannot be called")
        lists = {"train": train, "valid": valid, "test": test}
        combined = {
            name: CombinedDataset(_entries(nodes, f"dataset.{name}"), preprocessor=preprocessor, seed=seed)
            for name, nodes in lists.items()
        }
        self.train, self.valid, self.test = combined["train"], combined["valid"], combined["test"]
        for entry in self.test.entries.values():
            check_test_set_name(entry.name, entry.where)


def build_organizer(config: Any, *, test: bool = True) -> DataOrganizer:
    """Make the organizer of a `dataset:` block; with `test=False` without the test sets.

    As `hydra.utils.instantiate`, but the entries stay the same objects (OmegaConf would copy them), and a
    user's mistake inside, such as a missing manifest, stays a one-line error.
    """
    if not test and config.get("test") is not None:
        config = config.copy()
        config["test"] = None
    organizer = instantiate_node(config)
    if not isinstance(organizer, DataOrganizer):
        raise UserError(f"dataset._target_ makes a {type(organizer).__name__}, not a DataOrganizer")
    return organizer


def _entries(nodes: Any, where: str) -> list[DatasetEntry]:
    if nodes is None:
        return []
    if isinstance(nodes, str | Mapping | DictConfig) or not isinstance(nodes, Iterable):
        raise UserError(f"{where} is a {type(nodes).__name__}; it must be a list of {{name, dataset}}")
    entries: list[DatasetEntry] = []
    for position, node in enumerate(nodes):
        entry = _entry(node, f"{where}[{position}]")
        for other in entries:
            if other.name == entry.name:
                raise UserError(f"{entry.where}: the name is already used by {other.where}")
        entries.append(entry)
    return entries


def _entry(node: Any, where: str) -> DatasetEntry:
    if not isinstance(node, Mapping | DictConfig):
        raise UserError(f"{where} is a {type(node).__name__}; it must be {{name, dataset, transform}}")
    for key in node:
        if key not in ENTRY_KEYS:
            raise UserError(f"{where}: unknown key {key!r}; {suggestion(str(key), ENTRY_KEYS)}")
    name = node.get("name")
    if not isinstance(name, str) or not name:
        raise UserError(f"{where}: `name` must be a string, given: {name!r}")
    where = f"{where} ({name!r})"
    dataset: Any
    dataset, transform = node.get("dataset"), node.get("transform")
    if callable(getattr(dataset, "keys", None)) and not isinstance(dataset, dict | DictConfig):
        dataset = KeyedDataset(dataset)
    if isinstance(dataset, ListConfig):
        dataset = OmegaConf.to_container(dataset)  # a list of samples, which Hydra has wrapped
    if dataset is None:
        raise UserError(f"{where}: `dataset` is missing")
    if isinstance(dataset, Mapping | DictConfig) or not (
        hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")
    ):
        raise UserError(
            f"{where}: `dataset` is a {type(dataset).__name__}; it must have __len__ and [] by position"
            " (is its _target_ missing?)"
        )
    if transform is not None and not callable(transform):
        raise UserError(f"{where}: `transform` is a {type(transform).__name__} and cannot be called")
    return DatasetEntry(name, dataset, transform, where)
