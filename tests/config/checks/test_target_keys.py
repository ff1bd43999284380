"""What a `_target_` takes is read from its source; where that does not tell, nothing is refused."""

import inspect
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from espnet3.config.checks.targets.keys import check_target_keys, keywords
from espnet3.errors import UserError

SOURCE = """
from dataclasses import dataclass
from functools import cache
from torch import nn
from other import Far, Renamed as Near


def function(first, *rest, second=1): ...
def open_ended(first, **more): ...

@cache
def decorated(first): ...

class Plain:
    def __init__(self, size, rate=1): ...

class Heir(Plain): ...
class Bare: ...
class Made:
    def __new__(cls, *args): ...

class Module(nn.Module): ...

@dataclass
class Data:
    size: int

def replaced(first): ...
replaced = open_ended

try:
    def chosen(first): ...
except ImportError:
    chosen = None
"""
OTHER = "from . import nothing\nclass Far:\n    def __init__(self, *, deep): ...\nclass Renamed(Far): ...\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(SOURCE)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "__init__.py").write_text("from .inner import Far, Renamed\n")
    (tmp_path / "other" / "inner.py").write_text(OTHER)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "takes"),
    [
        ("function", ("first", "second")),
        ("Plain", ("size", "rate")),
        ("Heir", ("size", "rate")),
        ("Bare", ()),
        ("Far", ("deep",)),
        ("Near", ("deep",)),
        *((unclear, None) for unclear in ("open_ended", "decorated", "Made", "Module", "Data", "replaced")),
        *((unclear, None) for unclear in ("chosen", "nothing_here", "Plain.method")),
    ],
)
def test_what_a_recipes_own_code_takes(root: Path, name: str, takes: tuple[str, ...] | None):
    assert keywords(f"mine.{name}", (str(root),)) == takes


def test_a_module_that_is_not_there_or_broken_is_for_its_stage_to_tell(root: Path):
    (root / "broken.py").write_text("def (")
    assert keywords("broken.function", (str(root),)) is None
    assert keywords("no_such_module.function", (str(root),)) is None
    assert keywords("function", (str(root),)) is None


@pytest.mark.parametrize(
    "name", ["Adam", "AdamW", "SGD", "RMSprop", "lr_scheduler.OneCycleLR", "lr_scheduler.ReduceLROnPlateau"]
)
def test_torchs_optimizers_and_schedulers_are_known_as_they_are(name: str):
    real = torch.optim
    for part in name.split("."):
        real = getattr(real, part)
    assert keywords(f"torch.optim.{name}") == tuple(inspect.signature(real.__init__).parameters)[1:]


def check(root: Path, **config: object) -> None:
    check_target_keys(OmegaConf.create({"recipe_dir": str(root), **config}))


def test_a_key_that_cannot_be_passed_is_named_wherever_the_node_is(root: Path):
    node = {"_target_": "mine.Plain", "size": 1, "_convert_": "all"}
    check(root, model=node, dataset={"train": [{"dataset": node}]})
    with pytest.raises(UserError, match=r"model\.sise: .* takes no sise; did you mean model\.size\?"):
        check(root, model={**node, "sise": 1})
    with pytest.raises(UserError, match=r"dataset\.train\[0\]\.dataset\.x: .* it takes size, rate"):
        check(root, dataset={"train": [{"dataset": {**node, "x": 1}}]})


def test_what_the_stage_takes_for_itself_may_stand_beside_the_evaluators(root: Path):
    node = {"_target_": "mine.Plain", "splits": ["test"], "checkpoint": "last"}
    check(root, validate=node)
    with pytest.raises(UserError, match=r"model\.splits"):
        check(root, model=node)


def test_composing_a_recipe_imports_no_torch():
    recipe = Path(__file__).parents[3] / "egs" / "mini_digits" / "vocoder"
    script = (
        "import sys\nfrom pathlib import Path\nfrom espnet3.config.compose import compose, find_recipe\n"
        f"compose(find_recipe(Path({str(recipe)!r})), [])\n"
        "print([name for name in ('torch', 'lightning', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
