"""Python files as the record of a stage has them: by what they do, not by how they are written."""

import ast
import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from espnet3.rundir.records.inputs import recorded_name


def hash_code(paths: Iterable[Path], root: Path) -> dict[str, str]:
    """The SHA-256 of each file's syntax tree by its name, see `recorded_name`.

    Comments, docstrings and formatting change nothing.
    """
    return {recorded_name(path, root): _syntax_hash(path.read_bytes()) for path in paths}


def changed_code(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """Code files that differ: "model.py changed"."""
    return [f"{name} changed" for name in sorted(old.keys() | new.keys()) if old.get(name) != new.get(name)]


def _syntax_hash(source: bytes) -> str:
    try:
        content = repr(_plain(ast.parse(source))).encode()
    except (SyntaxError, ValueError):
        content = source  # the stage reports it with the line
    return hashlib.sha256(content).hexdigest()


def _plain(node: Any) -> Any:
    """A syntax tree as nested tuples, without positions and docstrings.

    Empty fields are left out, as newer versions of Python have more of them.
    """
    if isinstance(node, list):
        return [_plain(entry) for entry in node if not _is_docstring(entry)]
    if not isinstance(node, ast.AST):
        return node
    fields = ((name, value) for name, value in ast.iter_fields(node) if value is not None and value != [])
    return type(node).__name__, *((name, _plain(value)) for name, value in fields)


def _is_docstring(node: Any) -> bool:
    """Whether a statement is a string alone, which does nothing anywhere."""
    is_constant = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return is_constant and isinstance(node.value.value, str)
