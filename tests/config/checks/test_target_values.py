"""Values beside a `_target_`: types by annotations, bounds of torch's optimizers and schedulers."""

import ast
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from espnet3.config.checks.targets.keys import Parameter, parameters
from espnet3.config.checks.targets.values import OPTIMIZER, SCHEDULER, check_target_values, type_expected
from espnet3.errors import UserError

PLAIN = """
class Model:
    def __init__(self, channels: int, rate: "float" = 0.1, name: str | None = "a", augment: dict = None,
                 sizes: list[int] = (), flag: bool = False, other: "Path" = None, free=1): ...
"""


def check(tmp_path: Path, **blocks: Any) -> None:
    (tmp_path / "plain.py").write_text(PLAIN)
    check_target_values(OmegaConf.create({"recipe_dir": str(tmp_path), **blocks}))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"channels": 1.5}, "model.channels=1.5: plain.Model takes a whole number"),
        ({"channels": None}, "model.channels=null: plain.Model takes a whole number"),
        ({"rate": "fast"}, "model.rate=fast: plain.Model takes a number"),
        ({"name": [1]}, "takes text or null"),
        ({"sizes": 3}, "takes a list"),
        ({"sizes": {"a": 1}}, "takes a list"),
        ({"augment": [1]}, "takes a group of keys"),
        ({"flag": "yes"}, "takes true or false"),
        ({"batch_size": 0}, "model.batch_size=0: plain.Model takes a whole number, 1 or more"),
    ],
)
def test_a_value_of_another_type_than_annotated_is_refused(tmp_path: Path, options: dict, said: str):
    with pytest.raises(UserError) as caught:
        check(tmp_path, model={"_target_": "plain.Model", **options})
    assert said in str(caught.value)


def test_what_may_be_right_is_taken(tmp_path: Path):
    object_node = {"_target_": "plain.Model"}
    for options in (
        {"channels": 3, "rate": 1, "name": 7, "augment": None, "sizes": [], "flag": True},
        {"channels": 3.0, "name": None, "augment": {"a": 1}, "other": 5, "free": {"any": "thing"}},
        {"channels": object_node, "sizes": object_node},
    ):
        check(tmp_path, model={"_target_": "plain.Model", **options})
    check(tmp_path, model={"_target_": "elsewhere.Unknown", "channels": "x"})


@pytest.mark.parametrize(
    "annotation", ["Tensor", "int | Tensor", "Optional[Path]", "'not python'", "a.b", "Any"]
)
def test_other_annotations_take_anything(annotation: str):
    tree = ast.parse(annotation, mode="eval").body
    assert type_expected(Parameter("x", tree, None), [{}]) == ""


@pytest.mark.parametrize("lr", [-1, -1e-9, float("nan"), float("inf"), "fast", None, [1]])
@pytest.mark.parametrize("named", [False, True])
def test_a_learning_rate_that_torch_refuses_is_refused(tmp_path: Path, lr: Any, named: bool):
    node = {"_target_": "torch.optim.AdamW", "lr": lr}
    blocks = {"optimizers": {"g": {"optimizer": node, "params": "g"}}} if named else {"optimizer": node}
    with pytest.raises(UserError, match=r"optimizer\.lr=.*: torch\.optim\.AdamW takes a number, 0 or more"):
        check(tmp_path, **blocks)
    blocks = {"optimizer": {"_target_": "mine.Optimizer", "lr": -1}}
    with pytest.raises(UserError, match=r"optimizer\.lr=-1: mine\.Optimizer"):
        check(tmp_path, **blocks)


TRIED = [-2, -1, 0, 0.5, 0.999, 1, 2, None, "x", [0.9, 0.999], [0.9, 1.0], [-0.1, 0.5]]


@pytest.mark.parametrize("kind", ["Adam", "AdamW", "SGD", "Adagrad", "Adadelta", "NAdam", "RAdam", "RMSprop"])
def test_no_value_is_refused_that_torchs_optimizers_take(tmp_path: Path, kind: str):
    refused = 0
    for argument in parameters(f"torch.optim.{kind}") or ():
        if argument.name not in OPTIMIZER:
            continue
        for value in TRIED:
            node = {"_target_": f"torch.optim.{kind}", argument.name: value}
            try:
                check(tmp_path, optimizer=node)
            except UserError:
                refused += 1
                with pytest.raises((ValueError, TypeError, AttributeError)):
                    getattr(torch.optim, kind)([torch.zeros(1)], **{argument.name: value})
    assert refused


@pytest.mark.parametrize(
    ("scheduler", "options"),
    [
        ("StepLR", {"step_size": 0}),
        ("StepLR", {"gamma": -1}),
        ("MultiStepLR", {"milestones": 3}),
        ("CosineAnnealingLR", {"T_max": 0}),
        ("LinearLR", {"start_factor": 0}),
        ("ReduceLROnPlateau", {"factor": 1}),
        ("ReduceLROnPlateau", {"mode": "maxx"}),
        ("OneCycleLR", {"max_lr": "x"}),
    ],
)
def test_a_schedulers_value_that_torch_refuses_is_refused(tmp_path: Path, scheduler: str, options: dict):
    target = f"torch.optim.lr_scheduler.{scheduler}"
    (key,) = options
    with pytest.raises(UserError, match=rf"scheduler\.{key}=.* takes "):
        check(tmp_path, scheduler={"_target_": target, **options})


def test_the_arguments_of_the_tables_are_torchs():
    classes = [*vars(torch.optim).values(), *vars(torch.optim.lr_scheduler).values()]
    names = [f"{one.__module__}.{one.__name__}" for one in classes if isinstance(one, type)]
    known = {argument.name for name in names for argument in parameters(name) or ()}
    assert {key.rpartition(".")[2] for key in (*OPTIMIZER, *SCHEDULER)} <= known
