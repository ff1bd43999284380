"""Checks values beside a `_target_`: by annotations in its source, by what torch takes, by their names.

Nothing is imported. What is annotated by anything else than plain types, or not at all, takes any value.
"""

import ast
from collections.abc import Iterator
from typing import Any

from omegaconf import DictConfig, ListConfig

from espnet3.config.checks.targets.keys import Parameter, parameters, search_roots, target_nodes
from espnet3.errors import UserError
from espnet3.value_checks import Check, either, is_number, one_of, or_null, whole

_TORCH = "torch.optim."
_NUMBER: Check = (lambda value: is_number(value) and value >= 0, "a number, 0 or more")
_POSITIVE: Check = (lambda value: is_number(value) and value > 0, "a number above 0")
_SHARE: Check = (lambda value: is_number(value) and 0 <= value <= 1, "a number from 0 to 1")


def _each(check: Check, length: int | None = None) -> Check:
    """Takes a list, of `length` if given, of what `check` takes."""
    return (
        lambda value: (
            isinstance(value, list | ListConfig)
            and len(value) == (length or len(value))
            and all(map(check[0], value))
        ),
        f"a list of {length or ''} values, each {check[1]}".replace("  ", " "),
    )


OPTIMIZER: dict[str, Check] = {
    **dict.fromkeys(("lr", "weight_decay", "eps", "momentum", "lr_decay", "momentum_decay"), _NUMBER),
    "initial_accumulator_value": _NUMBER,
    "rho": _SHARE,
    "betas": _each((lambda value: is_number(value) and 0 <= value < 1, "from 0 to less than 1"), 2),
}
"""Arguments of the optimizers of torch -> what each takes."""

SCHEDULER: dict[str, Check] = {
    **dict.fromkeys(("step_size", "T_max", "T_0", "T_mult", "total_iters", "total_steps"), or_null(whole(1))),
    **dict.fromkeys(("patience", "cooldown"), whole(0)),
    **dict.fromkeys(("gamma", "eta_min"), _NUMBER),
    **dict.fromkeys(("factor", "end_factor", "pct_start"), _SHARE),
    "start_factor": (lambda value: is_number(value) and 0 < value <= 1, "a number above 0, to 1"),
    "min_lr": either(_NUMBER, _each(_NUMBER)),
    "max_lr": either(_POSITIVE, _each(_POSITIVE)),
    "milestones": _each(whole(0)),
    "ReduceLROnPlateau.factor": (lambda value: is_number(value) and 0 <= value < 1, "a number below 1"),
    "ReduceLROnPlateau.mode": one_of(("min", "max")),
    "ReduceLROnPlateau.threshold_mode": one_of(("rel", "abs")),
}
"""Arguments of the schedulers of torch -> what each takes; `Class.argument` comes first."""


OF_ANY: dict[str, Check] = {
    **dict.fromkeys(("batch_size", "batch_bins", "sample_rate"), or_null(whole(1))),
    "num_workers": or_null(whole(0)),
    "dropout": (lambda value: not is_number(value) or 0 <= value <= 1, _SHARE[1]),
}
"""Arguments that mean the same wherever they occur -> what each takes."""


def check_target_values(config: DictConfig) -> None:
    """Check the values beside every `_target_` of the resolved `config`.

    Raises:
        UserError: naming the first that is of another type, or that torch would refuse.
    """
    roots = search_roots(config)
    for where, node in target_nodes(config):
        target = str(node["_target_"])
        annotated = {} if "_args_" in node else {one.name: one for one in parameters(target, roots) or ()}
        for key, value in node.items():
            name, expected = str(key), ""
            check = _of_name(where, target, name)
            if check is not None and not check[0](value):
                expected = check[1]
            elif name in annotated:
                expected = type_expected(annotated[name], value)
            if expected:
                given = "null" if value is None else value
                raise UserError(f"{where}.{name}={given}: {target} takes {expected}")


def _of_name(where: str, target: str, key: str) -> Check | None:
    """What an argument of this name takes: one of torch's classes, a learning rate, or one of OF_ANY."""
    kind = target.rpartition(".")[2]
    if target.startswith(f"{_TORCH}lr_scheduler."):
        return SCHEDULER.get(f"{kind}.{key}") or SCHEDULER.get(key)
    if target.startswith(_TORCH):
        return OPTIMIZER.get(key)
    is_optimizer = where == "optimizer" or (where.startswith("optimizers.") and where.endswith(".optimizer"))
    return or_null(_NUMBER) if is_optimizer and key == "lr" else OF_ANY.get(key)


def type_expected(parameter: Parameter, value: Any) -> str:
    """What `parameter` takes if `value` is certainly of another type; else empty.

    A number is a text, too, and a whole number a decimal one. Objects (`_target_`) are of any type.
    """
    if parameter.annotation is None or (isinstance(value, DictConfig) and "_target_" in value):
        return ""
    default = parameter.default
    if value is None and isinstance(default, ast.Constant) and default.value is None:
        return ""
    names = list(_plain_names(parameter.annotation))
    if None in names or any(_is_of(str(name), value) for name in names):
        return ""
    return " or ".join(_WORDS[str(name)] for name in dict.fromkeys(names))


_WORDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "text",
    "None": "null",
    **dict.fromkeys(("list", "tuple", "Sequence", "Iterable", "List", "Tuple"), "a list"),
    **dict.fromkeys(("dict", "Mapping", "Dict"), "a group of keys"),
}
"""Plain types by their names in annotations."""


def _is_of(name: str, value: Any) -> bool:
    match _WORDS[name]:
        case "null":
            return value is None
        case "a list":
            return isinstance(value, ListConfig | list)
        case "a group of keys":
            return isinstance(value, DictConfig | dict)
        case "true or false":
            return isinstance(value, bool | int)
        case "text":
            return isinstance(value, str | int | float)
        case "a whole number":
            return isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        case _:
            return isinstance(value, int | float)


def _plain_names(annotation: ast.expr) -> Iterator[str | None]:
    """The names of the plain types in an annotation; None for each other one."""
    match annotation:
        case ast.Constant(value=None):
            yield "None"
        case ast.Constant(value=str(text)):
            try:
                yield from _plain_names(ast.parse(text, mode="eval").body)
            except SyntaxError:
                yield None
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            yield from _plain_names(left)
            yield from _plain_names(right)
        case ast.Subscript(value=ast.Name(id="Optional"), slice=inner):
            yield "None"
            yield from _plain_names(inner)
        case ast.Subscript(value=ast.Name(id="Union"), slice=ast.Tuple(elts=members)):
            for member in members:
                yield from _plain_names(member)
        case ast.Subscript(value=inner):
            yield from _plain_names(inner)
        case ast.Name(id=name):
            yield name if name in _WORDS else None
        case _:
            yield None
