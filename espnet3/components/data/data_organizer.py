"""The `dataset:` block of a configuration: lists of named datasets for train, valid and test.

dataset:
  _target_: espnet3.components.data.data_organizer.DataOrganizer
  train:
    - name: mini                        # names errors and samples without a uid
      dataset: {_target_: ...}          # __len__ and [] -> dict
      transform: {_target_: ...}        # optional: dict -> dict
  valid: [...]
  test: [...]
  preprocessor: {_target_: ...}         # optional: dict -> dict, after each transform
"""

from collections.abc import Iterable, Mapping
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from espnet3.components.data.combined_dataset import CombinedDataset, Part, Transform
from espnet3.components.data.instantiation import instantiate_node
from espnet3.errors import UserError, suggestion

ENTRY_KEYS = ("name", "dataset", "transform")


class DataOrganizer:
    """`train`, `valid` and `test`, each one `CombinedDataset`; a list that is absent makes an empty one.

    Args:
        train: entries `{name, dataset, transform}`, whose datasets and transforms are objects already.
        valid: as `train`.
        test: as `train`.
        preprocessor: applied to every sample of all lists, after the entry's transform.
        seed: of what random transforms draw; None takes the data loader's, and 0 outside one.

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
    ) -> None:
        if preprocessor is not None and not callable(preprocessor):
            raise UserError(f"dataset.preprocessor: {type(preprocessor).__name__} cannot be called")
        lists = {"train": train, "valid": valid, "test": test}
        combined = {
            name: CombinedDataset(_parts(entries, f"dataset.{name}"), preprocessor=preprocessor, seed=seed)
            for name, entries in lists.items()
        }
        self.train, self.valid, self.test = combined["train"], combined["valid"], combined["test"]


def build_organizer(config: DictConfig) -> DataOrganizer:
    """Make the organizer of a `dataset:` block.

    As `hydra.utils.instantiate`, but the entries stay the objects they are (OmegaConf copies what it
    holds), and a user's mistake inside (a manifest that is not there) is that one-line error again.
    """
    organizer = instantiate_node(config)
    if not isinstance(organizer, DataOrganizer):
        raise UserError(f"dataset._target_ makes a {type(organizer).__name__}, not a DataOrganizer")
    return organizer


def _parts(entries: Any, where: str) -> list[Part]:
    if entries is None:
        return []
    if isinstance(entries, str | Mapping | DictConfig) or not isinstance(entries, Iterable):
        raise UserError(f"{where} is a {type(entries).__name__}; it must be a list of {{name, dataset}}")
    parts: list[Part] = []
    for position, entry in enumerate(entries):
        part = _part(entry, f"{where}[{position}]")
        for other in parts:
            if other.name == part.name:
                raise UserError(f"{part.where}: the name is taken already by {other.where}")
        parts.append(part)
    return parts


def _part(entry: Any, where: str) -> Part:
    if not isinstance(entry, Mapping | DictConfig):
        raise UserError(f"{where} is a {type(entry).__name__}; it must be {{name, dataset, transform}}")
    for key in entry:
        if key not in ENTRY_KEYS:
            raise UserError(f"{where}: unknown key {key!r}; {suggestion(str(key), ENTRY_KEYS)}")
    name = entry.get("name")
    if not isinstance(name, str) or not name:
        raise UserError(f"{where}: `name` must be a string, given: {name!r}")
    where = f"{where} ({name!r})"
    dataset: Any
    dataset, transform = entry.get("dataset"), entry.get("transform")
    if isinstance(dataset, ListConfig):
        dataset = OmegaConf.to_container(dataset)  # a list of samples, wrapped on its way through Hydra
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
    return Part(name, dataset, transform, where)
