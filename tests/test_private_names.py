"""Private names of libraries are used in the files that are made for them, and in no other."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "espnet3"
MAY_USE = (
    *("lightning_internals.py", "hydra_internals.py", "process_exit.py", "executor.py"),
    *("worker_processes.py", "flight_recorder.py"),
)
"""Each has a contract test, which names what an upgrade took away."""
PUBLIC = ("os._exit", "torch._foreach_", "_typeshed.")
"""They look private, but are in the libraries' documentation."""


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__") and name != "_"


def foreign_private_names(tree: ast.AST) -> Iterator[str]:
    """Those that the file does not define itself: attributes, imports, and keyword arguments."""
    own = set(_defined(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr) and node.attr not in own:
            if not (_is_self(node.value) and node.attr in inherited()):
                yield ast.unparse(node)
        elif isinstance(node, ast.keyword) and is_private(node.arg or "") and node.arg not in own:
            if not (node.arg or "").endswith("_"):  # Hydra documents _partial_ and its like
                yield f"{node.arg}="
        elif isinstance(node, ast.ImportFrom):
            path = f"{node.module or ''}."
            yield from (
                f"{path}{alias.name}" for alias in node.names if _is_private_path(f"{path}{alias.name}")
            )
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if _is_private_path(alias.name))


def _is_private_path(path: str) -> bool:
    return any(map(is_private, path.split(".")))


def _defined(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and _is_self(node.value):
            yield node.attr


@cache
def inherited() -> frozenset[str]:
    """Private names that classes of espnet3 define, for those that derive from them in other files."""
    return frozenset(
        name
        for path in PACKAGE.rglob("*.py")
        for name in _defined(ast.parse(path.read_text()))
        if is_private(name)
    )


def _is_self(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


FILES = [path for path in sorted(PACKAGE.rglob("*.py")) if path.name not in MAY_USE]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_uses_no_private_name_of_another(path: Path):
    used = foreign_private_names(ast.parse(path.read_text()))
    assert [name for name in used if not name.startswith(PUBLIC)] == []
