"""The layers: arrows point one way, and the submitting side stays free of torch."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "espnet3"

MAY_IMPORT = {
    "errors": set(),
    "rundir": {"errors"},
    "config": {"errors", "rundir"},
    "components": {"errors", "rundir", "config"},
    "stages": {"errors", "rundir", "config", "components"},
    "launch": {"errors", "rundir", "config", "stages"},
    "sweep": {"errors", "rundir", "config", "stages", "launch"},
    "commands": {"errors", "rundir", "config", "stages", "launch", "sweep"},
    "__main__": {"errors", "commands"},
    "hydra_app": {"errors", "rundir", "config", "stages", "launch", "sweep", "commands", "__main__"},
}
NO_TORCH = ("errors", "rundir", "config", "launch", "sweep", "stages", "commands", "__main__", "hydra_app")


def layer(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(tree: ast.AST, *, top_level_only: bool = False) -> set[str]:
    nodes = ast.iter_child_nodes(tree) if top_level_only else ast.walk(tree)
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


SOURCES = [path for path in sorted(PACKAGE.rglob("*.py")) if path != PACKAGE / "__init__.py"]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_imports_only_from_its_layer_and_those_below(path: Path):
    tree = ast.parse(path.read_text())
    allowed = MAY_IMPORT[layer(path)] | {layer(path)}
    layers = {name.split(".")[1] for name in imports(tree) if name.startswith("espnet3.")}
    assert layers - {"__version__"} <= allowed
    if layer(path) in NO_TORCH:
        heavy = {name.split(".")[0] for name in imports(tree, top_level_only=True)}
        assert not heavy & {"torch", "lightning", "numpy", "matplotlib"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_says_its_purpose_first(path: Path):
    first_line = (ast.get_docstring(ast.parse(path.read_text())) or "").split("\n")[0]
    assert first_line.endswith((".", "?"))


VERBS = sorted({path.stem for path in (PACKAGE / "commands").glob("[!_]*.py")} - {"parser"})


@pytest.mark.parametrize("verb", VERBS)
def test_help_fits_80_columns_and_imports_almost_nothing(verb: str):
    script = (
        "import sys; from espnet3.__main__ import main\n"
        f"try: main([{verb!r}, '--help'])\n"
        "except SystemExit: pass\n"
        "print([n for n in ('torch', 'lightning', 'hydra', 'rich') if n in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "COLUMNS": "80"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stderr.strip() == "[]"
    assert max(map(len, done.stdout.splitlines())) <= 80
