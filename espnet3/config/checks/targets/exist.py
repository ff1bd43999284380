"""Reports a `_target_` that does not exist, or lacks an argument, and why; nothing is imported.

Modules are looked up and read as source. Where that does not tell (a module without source, `import *`, names
made at run time) nothing is reported: importing it will.
"""

import ast
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from importlib.machinery import PathFinder
from pathlib import Path

from omegaconf import DictConfig, ListConfig, OmegaConf

from espnet3.config.checks.targets.keys import (
    bare_folders,
    bound_names,
    required_keywords,
    source_file,
    target_nodes,
)
from espnet3.config.fingerprint import code_files
from espnet3.config.flat import flatten
from espnet3.errors import UserError, short_path, suggestion

COMPLETE = ("dataset", "dataloader", "model", "validate", "callbacks", "logger")
"""Blocks whose classes get no further arguments than those in the configuration."""
TRAINED = ("optimizer", "optimizers", "scheduler", "schedulers")
"""Blocks whose classes get the parameters or the optimizer first, and perhaps the training's `length`."""


def check_targets_exist(config: DictConfig) -> None:
    """Check every `_target_` of the resolved `config`, and what the recipe's modules import.

    Raises:
        UserError: naming key, file and reason.
    """
    recipe = Path(config.recipe_dir)
    roots = (str(recipe), str(recipe.parent))
    # Jobs that run another Python have other packages.
    elsewhere = any(resources.get("python") for resources in config.resources.values())
    targets = list(target_nodes(config))
    for where, node in targets:
        target = str(node["_target_"])
        reason = missing_reason(target, roots, is_installed_here=not elsewhere)
        if reason:
            raise UserError(f"{where}._target_={target}: {reason}")
    part = flatten(OmegaConf.to_container(config, resolve=False))
    for file in () if elsewhere else code_files(part, map(Path, roots)):
        for line, module in _imported(file):
            if not _is_found(module.partition(".")[0], roots):
                raise UserError(f"{short_path(file)}:{line} imports {module}, and there is no such module")
    for where, node in _complete_nodes(config, (*COMPLETE, *TRAINED)):
        target = str(node["_target_"])
        required = required_keywords(target, roots)
        if where.partition(".")[0] in TRAINED:
            required = tuple(name for name in required[1:] if name not in ("optimizer", "length"))
        lacking = [name for name in required if name not in node]
        if lacking and "_args_" not in node and not node.get("_partial_"):
            raise UserError(f"{where}: {target} needs {', '.join(lacking)}; give {where}.{lacking[0]}")


def missing_reason(target: str, roots: Sequence[str], *, is_installed_here: bool = True) -> str:
    """Why `target` (package.module.Class) can't be imported; empty where it can, or nobody knows.

    Args:
        target: a class or function.
        roots: folders that are searched before sys.path.
        is_installed_here: whether it would be imported by this Python; otherwise only `roots` are known.
    """
    names = target.split(".")
    if len(names) < 2 or not all(names):
        return "it must be package.module.Class, or module.Class"
    if not _is_found(names[0], roots):
        if not is_installed_here:
            return ""
        own = sorted({path.stem for root in roots[:1] for path in Path(root).glob("*.py")})
        return f"there is no module {names[0]}; {suggestion(names[0], own, otherwise='is it installed?')}"
    search_path = (*roots, *sys.path)
    for depth in range(len(names) - 1, 0, -1):
        module, name = ".".join(names[:depth]), names[depth]
        file = source_file(module, tuple(search_path))
        if file is None:
            folders = bare_folders(module, tuple(search_path))
            if folders and not any(
                (folder / name).is_dir() or any(folder.glob(f"{name}.*")) for folder in folders
            ):
                return f"there is no module {module}.{name} in {short_path(folders[0])}"
            continue
        try:
            tree = ast.parse(file.read_bytes())
        except SyntaxError as error:
            return f"{short_path(file)}:{error.lineno}: {error.msg}"
        known = _names(tree)
        if known is None or name in known or _is_submodule(file, name):
            return ""
        defined = [node.name for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)]
        return f"{short_path(file)} has no {name}; {suggestion(name, defined or sorted(known))}"
    return ""


def _names(tree: ast.Module) -> set[str] | None:
    """The names that a module may have; None where they can't be told."""
    names: set[str] = set()
    for node in tree.body:
        found = bound_names(node)
        if "*" in found or "__getattr__" in found:
            return None
        names |= found
    if any(
        isinstance(node, ast.Name) and node.id in ("globals", "setattr", "exec") for node in ast.walk(tree)
    ):
        return None
    return names


def _is_submodule(file: Path, name: str) -> bool:
    folder = file.parent
    return file.name == "__init__.py" and (any(folder.glob(f"{name}.*")) or (folder / name).is_dir())


def _is_found(name: str, roots: Sequence[str]) -> bool:
    """Whether a top-level module exists."""
    if name in sys.builtin_module_names or PathFinder.find_spec(name, [*roots]):
        return True
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return True


def _imported(file: Path) -> Iterator[tuple[int, str]]:
    """Modules that a file imports when it is imported, whatever happens: line and name."""
    try:
        tree = ast.parse(file.read_bytes())
    except SyntaxError:
        return
    for node in tree.body:
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            yield node.lineno, node.module


def _complete_nodes(config: DictConfig, blocks: Sequence[str]) -> Iterator[tuple[str, DictConfig]]:
    """Nodes that are instantiated as they are: not those below one that makes its parts itself."""
    for block in blocks:
        node = config.get(block)
        if isinstance(node, DictConfig | ListConfig):
            by_itself = tuple(
                f"{where}."
                for where, parent in target_nodes(node, block)
                if parent.get("_recursive_") is False
            )
            for where, inner in target_nodes(node, block):
                if not where.startswith(by_itself):
                    yield where, inner
