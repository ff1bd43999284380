"""Reports keys beside a `_target_` that its class or function does not accept, without importing it.

The arguments are read from its source. If they can't be determined (`**kwargs`, a decorator, a class that is
created elsewhere, a missing module), nothing is reported: instantiating the object will.
"""

import ast
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig

from espnet3.errors import UserError, suggestion

HYDRA = ("_target_", "_args_", "_recursive_", "_convert_", "_partial_")
VALIDATE_KEYS = ("splits", "checkpoint")
"""Keys under `validate:` that the stage itself reads, beside those of the evaluator."""

Definition = ast.FunctionDef | ast.ClassDef


def check_target_keys(config: DictConfig) -> None:
    """Check every node of the resolved `config` that has a `_target_`.

    Raises:
        UserError: naming the first invalid key, and the nearest valid one.
    """
    roots = search_roots(config)
    for where, node in target_nodes(config):
        target = node["_target_"]
        if not isinstance(target, str) or not target.strip():
            raise UserError(f"{where}._target_={target}: takes a class or function, package.module.Class")
        accepted = keywords(target, roots)
        known = (*HYDRA, *VALIDATE_KEYS) if where == "validate" else HYDRA
        for key in map(str, node):
            if accepted is None or key in known or key in accepted:
                continue
            all_keys = f"it takes {', '.join(accepted) or 'nothing'}"
            hint = suggestion(key, accepted, prefix=f"{where}.", otherwise=all_keys)
            raise UserError(f"{where}.{key}: {target} takes no {key}; {hint}")


@dataclass(frozen=True)
class Parameter:
    """An argument of a class or function, as its source has it."""

    name: str
    annotation: ast.expr | None
    default: ast.expr | None
    """None: it must be given."""


def search_roots(config: DictConfig) -> tuple[str, str]:
    """The folders in which modules of a recipe are looked for before sys.path."""
    recipe = Path(str(config.recipe_dir))
    return str(recipe), str(recipe.parent)


@lru_cache
def parameters(target: str, roots: tuple[str, ...] = ()) -> tuple[Parameter, ...] | None:
    """The arguments of `target` (package.module.Class); None if they can't be determined.

    Args:
        target: a class or function.
        roots: folders that are searched before sys.path.
    """
    module, _, name = target.rpartition(".")
    search_path = (*roots, *sys.path)
    located = _find(module, name, search_path) if module else None
    return None if located is None else _parameters(*located, search_path)


def keywords(target: str, roots: tuple[str, ...] = ()) -> tuple[str, ...] | None:
    """Names of the arguments of `target`; None if they can't be determined."""
    found = parameters(target, roots)
    return None if found is None else tuple(parameter.name for parameter in found)


def required_keywords(target: str, roots: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Names of the arguments of `target` that have no default, as far as they can be determined."""
    return tuple(one.name for one in parameters(target, roots) or () if one.default is None)


def target_nodes(node: Any, where: str = "") -> Iterator[tuple[str, DictConfig]]:
    """All mappings with a `_target_`, with their dotted keys."""
    children: list[tuple[str, Any]] = []
    if isinstance(node, DictConfig):
        if "_target_" in node:
            yield where, node
        prefix = f"{where}." if where else ""
        children = [(f"{prefix}{key!s}", child) for key, child in node.items()]
    elif isinstance(node, ListConfig):
        children = [(f"{where}[{index}]", child) for index, child in enumerate(node)]
    for name, child in children:
        yield from target_nodes(child, name)


def _parameters(
    module: str, definition: Definition, search_path: Sequence[str]
) -> tuple[Parameter, ...] | None:
    if definition.decorator_list:
        return None
    if isinstance(definition, ast.FunctionDef):
        arguments = definition.args
        if arguments.kwarg or arguments.posonlyargs:
            return None
        defaults = [None] * (len(arguments.args) - len(arguments.defaults)) + list(arguments.defaults)
        by_position = zip(arguments.args, defaults, strict=True)
        by_name = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
        return tuple(Parameter(one.arg, one.annotation, default) for one, default in (*by_position, *by_name))
    methods = {node.name: node for node in definition.body if isinstance(node, ast.FunctionDef)}
    if "__init__" in methods and "__new__" not in methods:
        of_init = _parameters(module, methods["__init__"], search_path)
        return None if of_init is None else of_init[1:]  # without self
    if "__new__" in methods or len(definition.bases) > 1 or definition.keywords:
        return None
    if not definition.bases:
        return ()
    base = definition.bases[0]
    inherited = _find(module, base.id, search_path) if isinstance(base, ast.Name) else None
    return None if inherited is None else _parameters(*inherited, search_path)


def _find(
    module: str, name: str, search_path: Sequence[str], depth: int = 8
) -> tuple[str, Definition] | None:
    """The module that defines `name`, and its definition; follows imports of the name from elsewhere."""
    source = _source(module, search_path)
    if source is None or not depth:
        return None
    tree, is_package = source
    located: tuple[str, Definition] | None = None
    for node in tree.body:  # the last one counts
        if isinstance(node, Definition) and node.name == name:
            located = (module, node)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    located = _find(_absolute(node, module, is_package), alias.name, search_path, depth - 1)
        elif not isinstance(node, Definition) and name in bound_names(node):
            located = None  # bound to something unknown, or conditionally
    return located


def bound_names(node: ast.stmt) -> set[str]:
    """Names that a statement binds, at any depth; `*` where it imports all of a module's."""
    names = set()
    for inner in ast.walk(node):
        if isinstance(inner, Definition):
            names.add(inner.name)
        elif isinstance(inner, ast.alias):
            names.add(inner.asname or inner.name.partition(".")[0])
        elif isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store):
            names.add(inner.id)
    return names


def _absolute(node: ast.ImportFrom, module: str, is_package: bool) -> str:
    if not node.level:
        return node.module or ""
    package = module.split(".")
    package = package[: len(package) - node.level + is_package]
    return ".".join([*package, *([node.module] if node.module else [])])


@lru_cache
def _source(module: str, search_path: Sequence[str]) -> tuple[ast.Module, bool] | None:
    """The syntax tree of a module, and whether it is a package; None without source."""
    file = source_file(module, search_path)
    if file is None:
        return None
    try:
        return ast.parse(file.read_bytes()), file.name == "__init__.py"
    except (SyntaxError, OSError):
        return None


@lru_cache
def source_file(module: str, search_path: Sequence[str]) -> Path | None:
    """The file of a module, found without importing its package; None without source."""
    spec = _spec(module, search_path)
    if spec is None or not (spec.origin or "").endswith(".py"):
        return None
    return Path(str(spec.origin))


def bare_folders(module: str, search_path: Sequence[str]) -> list[Path]:
    """The folders of a package without `__init__.py`, which has only modules; empty for other modules."""
    spec = _spec(module, search_path)
    if spec is None or spec.origin is not None:
        return []
    return [Path(folder) for folder in spec.submodule_search_locations or ()]


def _spec(module: str, search_path: Sequence[str]) -> ModuleSpec | None:
    names = module.split(".")
    searched: Sequence[str] | None = search_path
    spec = None
    for name in names:  # not the whole one: a package without `__init__.py` would look for an imported parent
        spec = PathFinder.find_spec(name, searched) if searched else None
        if spec is None:
            return None
        searched = spec.submodule_search_locations
    return spec
