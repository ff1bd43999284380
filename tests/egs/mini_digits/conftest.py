"""The recipe's Python as a stage sees it, and a small corpus made once."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

CORPUS = Path(__file__).resolve().parents[3] / "egs" / "mini_digits"
SETTINGS: dict[str, Any] = {
    "utterances": {"train": 20, "valid": 4, "test": 4},
    "seed": 0,
    "sample_rate": 8000,
    "digits": [3, 7],
    "speed": [120, 210],
    "pitch": [30, 70],
    "snr_db": [8.0, 30.0],
    "workers": 2,
}


def forget() -> None:
    """Other recipes call their modules `model` too."""
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None) or "").startswith(str(CORPUS)):
            del sys.modules[name]


@pytest.fixture(autouse=True, scope="module")
def recipe_path() -> Iterator[None]:
    """The recipe's folder and the corpus's are on sys.path, as when a stage runs."""
    forget()
    sys.path[:0] = [str(CORPUS / "asr"), str(CORPUS)]
    yield
    del sys.path[:2]
    forget()


@pytest.fixture(scope="module")
def make(recipe_path: None) -> Callable[..., Any]:
    """Stage 0 into a folder: a small corpus, with other settings as keywords."""
    from corpus.prepare import prepare
    from espnet3.rundir.task import Task

    def made(folder: Path, *, task: Any = None, **changed: Any) -> Any:
        settings = {**SETTINGS, **changed}
        manifests = {split: str(folder / f"{split}.jsonl") for split in settings["utterances"]}
        return prepare(manifests=manifests, **settings, task=task or Task.single("prepare"))

    return made


@pytest.fixture(scope="module")
def small_corpus(make: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 utterances to train on, and 4 each to validate and test."""
    folder = tmp_path_factory.mktemp("data")
    make(folder)
    return folder
