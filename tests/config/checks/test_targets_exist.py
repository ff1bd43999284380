"""A `_target_` that does not exist is told with the reason, before anything is imported."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from espnet3.config.checks.targets.exist import check_targets_exist, missing_reason
from espnet3.config.compose import compose, find_recipe
from espnet3.errors import UserError

EGS = Path(__file__).resolve().parents[3] / "egs"
MODEL = """
import torch
try:
    import only_on_gpus
except ImportError:
    only_on_gpus = None
if torch:
    class Chosen: ...
class Model:
    def __init__(self, size, rate=1): ...
class Optimizer:
    def __init__(self, params, rate): ...
class Scheduler:
    def __init__(self, optimizer, *, length): ...
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "model.py").write_text(MODEL)
    (tmp_path / "torn.py").write_text("x = 1\ndef (")
    (tmp_path / "open.py").write_text("from torch.nn import *\n")
    (tmp_path / "lazy.py").write_text("def __getattr__(name): ...\n")
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").write_text("from .inner import Deep\n")
    (tmp_path / "package" / "inner.py").write_text("class Deep: ...\n")
    (tmp_path / "bare" / "deeper").mkdir(parents=True)
    (tmp_path / "bare" / "deeper" / "inner.py").write_text("class Deep: ...\n")
    (tmp_path / "bare" / "inner.py").write_text("class Deep: ...\n")
    return tmp_path


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("Model", "it must be package.module.Class, or module.Class"),
        ("modle.Model", "there is no module modle; did you mean model?"),
        ("model.Modell", "model.py has no Modell; did you mean Model?"),
        ("torn.Model", "torn.py:2: "),
        ("package.inner.Deeper", "inner.py has no Deeper; did you mean Deep?"),
        ("package.outer.Deep", "__init__.py has no outer"),
        ("torch.optim.Adamm", "torch/optim/__init__.py has no Adamm; did you mean Adam?"),
        ("bare.Model", "there is no module bare.Model in "),
        ("bare.outer.Deep", "there is no module bare.outer in "),
        ("bare.deeper.Model", "there is no module bare.deeper.Model in "),
        ("bare.inner.Deeper", "inner.py has no Deeper; did you mean Deep?"),
        ("nowhere_at_all.Model", "there is no module nowhere_at_all; is it installed?"),
    ],
)
def test_a_missing_target_has_a_reason(root: Path, target: str, reason: str):
    assert reason in missing_reason(target, (str(root),))


@pytest.mark.parametrize(
    "target",
    [
        *(
            "model.Model",
            "model.Chosen",
            "model.only_on_gpus.Thing",
            "package.Deep",
            "package.inner.Deep",
            "bare.inner.Deep",
        ),
        *("open.Whatever", "lazy.Whatever", "builtins.dict", "torch.nn.Linear", "numpy.random.default_rng"),
        *("lightning.pytorch.callbacks.EarlyStopping", "torch.optim.lr_scheduler.StepLR", "math.sqrt"),
        "espnet3.components.data.manifest.ManifestDataset",
    ],
)
def test_what_is_there_or_may_be_is_not_refused(root: Path, target: str):
    assert missing_reason(target, (str(root),)) == ""


def config(root: Path, **keys: Any) -> Any:
    return OmegaConf.create({"recipe_dir": str(root), "resources": {"train": {}}, **keys})


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"model": {"_target_": "model.Model"}}, r"model: model\.Model needs size; give model\.size"),
        (
            {"callbacks": {"x": {"_target_": "model.Gone"}}},
            r"callbacks\.x\._target_=model\.Gone: .*has no Gone",
        ),
        (
            {"scheduler": {"_target_": "torch.optim.lr_scheduler.StepLR"}},
            r"^scheduler: torch\.optim\.lr_scheduler\.StepLR needs step_size; give scheduler\.step_size$",
        ),
        (
            {"schedulers": {"a": {"scheduler": {"_target_": "torch.optim.lr_scheduler.OneCycleLR"}}}},
            r"^schedulers\.a\.scheduler: .* needs max_lr; give schedulers\.a\.scheduler\.max_lr$",
        ),
        (
            {"optimizers": {"a": {"optimizer": {"_target_": "model.Optimizer"}}}},
            r"^optimizers\.a\.optimizer: model\.Optimizer needs rate;",
        ),
    ],
)
def test_the_key_is_named(root: Path, keys: dict[str, Any], message: str):
    with pytest.raises(UserError, match=message):
        check_targets_exist(config(root, **keys))


@pytest.mark.parametrize(
    "keys",
    [
        {"model": {"_target_": "model.Model", "_partial_": True}},
        {"model": {"_target_": "model.Model", "_args_": [1]}},
        {"scheduler": {"_target_": "model.Model"}},
        {"scheduler": {"_target_": "model.Scheduler"}},
        {"scheduler": {"_target_": "torch.optim.lr_scheduler.ChainedScheduler", "schedulers": []}},
        {
            "model": {
                "_target_": "model.Model",
                "size": 1,
                "_recursive_": False,
                "part": {"_target_": "model.Model"},
            }
        },
    ],
)
def test_arguments_that_the_code_may_add_are_not_missed(root: Path, keys: dict[str, Any]):
    check_targets_exist(config(root, **keys))


def test_an_import_of_a_module_that_is_not_there_is_told_with_its_line(root: Path):
    (root / "model.py").write_text("import torch\nimport jiwerr.cer\n" + MODEL)
    keys = {"model": {"_target_": "model.Model", "size": 1}}
    with pytest.raises(UserError, match=r"model\.py:2 imports jiwerr\.cer, and there is no such module"):
        check_targets_exist(config(root, **keys))
    elsewhere = config(root, **keys)
    elsewhere.resources.train.python = "/opt/python"
    check_targets_exist(elsewhere)  # another Python has other packages


@pytest.mark.parametrize("recipe", ["TEMPLATE", "mini_digits/asr", "mini_digits/vocoder"])
def test_the_recipes_here_are_right(recipe: str):
    check_targets_exist(compose(find_recipe(EGS / recipe), []))


def test_nothing_is_imported(root: Path):
    (root / "model.py").write_text("raise SystemExit(3)\nclass Model: ...\n")
    program = (
        "import sys\nfrom espnet3.config.checks.targets.exist import missing_reason\n"
        f"missing_reason('model.Model', ('{root}',)), missing_reason('torch.optim.Adam', ())\n"
        "assert 'torch' not in sys.modules and 'model' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
