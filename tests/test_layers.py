"""The layers: arrows point one way, and the submitting side stays free of torch."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "espnet3"

GROUND = {"errors", "number_text", "value_checks", "resources", "parent_death", "stage_table"}
FILES = GROUND | {"slurm", "rundir"}
LAUNCHER = FILES | {"config", "stages", "terminal"}
SWEEP = LAUNCHER | {"outcomes", "status", "launcher"}
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "number_text": set(),
    "parent_death": set(),
    "value_checks": set(),
    "resources": {"value_checks"},
    "stage_table": set(),
    "terminal": {"errors", "number_text"},
    "slurm": {"errors", "number_text", "resources", "parent_death", "value_checks"},
    "rundir": GROUND | {"slurm"},
    "config": FILES,
    "components": {"errors", "number_text", "parent_death", "rundir", "config"},
    "stages": {"errors", "number_text", "stage_table", "rundir", "config", "components"},
    "outcomes": FILES,
    "status": FILES | {"outcomes", "stages", "terminal"},
    "launcher": LAUNCHER | {"outcomes", "status"},
    "launcher.planning": LAUNCHER,
    "launcher.submit": LAUNCHER | {"outcomes", "status", "launcher.planning"},
    "launcher.submit.executor": FILES,
    "launcher.rank": LAUNCHER | {"outcomes"},
    "launcher.start": LAUNCHER | {"launcher.planning", "launcher.rank", "launcher.submit.executor"},
    "launcher.attempt": LAUNCHER | {"outcomes", "launcher.planning", "launcher.rank", "launcher.start"},
    "launcher.batch": LAUNCHER
    | {"outcomes", "status", "launcher.planning", "launcher.submit"}
    | {"launcher.rank", "launcher.start", "launcher.attempt"},
    "launcher.follow": LAUNCHER
    | {"outcomes", "status", "launcher.planning", "launcher.submit", "launcher.attempt"},
    "sweep": SWEEP,
    "sweep.trials": FILES | {"config", "stages"},
    "sweep.show": SWEEP | {"sweep.trials"},
    "sweep.jobs": SWEEP | {"sweep.trials", "sweep.show"},
    "sweep.execute": SWEEP | {"sweep.trials", "sweep.show", "sweep.jobs"},
    "sweep.search": SWEEP | {"sweep"},
    "report": FILES | {"config", "stages", "terminal", "sweep.trials", "sweep.show"},
    "doctor": LAUNCHER | {"launcher"},
    "api": SWEEP | {"sweep"},
    "commands": SWEEP | {"sweep", "api", "report", "doctor"},
    "__main__": {"errors", "terminal", "commands"},
    "hydra_app": SWEEP | {"sweep", "api", "commands", "__main__"},
}
"""A room, the folders inside it included where they have no entry of their own -> what it may import besides
itself. The files right in `launcher` and `sweep` may import what lies in their folders, too."""
TORCH = "components"


def room(name: str) -> str:
    """The entry of MAY_IMPORT for a dotted name below espnet3; of one without an entry the first part."""
    parts = name.split(".")
    longest = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((start for start in longest if start in MAY_IMPORT), parts[0])


def is_within(name: str, rooms: set[str]) -> bool:
    return any(name == one or name.startswith(f"{one}.") for one in rooms)


def own_name(path: Path) -> str:
    """Dotted, below espnet3."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path, *, top_level_only: bool = False) -> set[str]:
    """Dotted names of the modules that a file imports, relative ones resolved."""
    tree = ast.parse(path.read_text())
    package = ["espnet3", *path.relative_to(PACKAGE).parent.parts]
    names: set[str] = set()
    for node in ast.iter_child_nodes(tree) if top_level_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*start, *([node.module] if node.module else [])])
            names |= {module} | {f"{module}.{alias.name}" for alias in node.names}
    return names


SOURCES = [path for path in sorted(PACKAGE.rglob("*.py")) if path != PACKAGE / "__init__.py"]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_imports_only_from_its_room_and_those_below(path: Path):
    own = room(own_name(path))
    names = {name.removeprefix("espnet3.") for name in imports(path) if name.startswith("espnet3.")}
    upward = {name for name in names if not is_within(name, MAY_IMPORT[own] | {own})}
    assert upward <= {"__version__"}
    if own != TORCH:
        heavy = {name.split(".")[0] for name in imports(path, top_level_only=True)}
        assert not heavy & {"torch", "lightning", "numpy", "matplotlib"}


def test_the_rooms_form_no_circle():
    below = dict(MAY_IMPORT)
    while leaves := {name for name, allowed in below.items() if not allowed & below.keys() - {name}}:
        below = {name: allowed for name, allowed in below.items() if name not in leaves}
    assert not below


def test_relative_imports_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", tmp_path)
    (tmp_path / "slurm").mkdir()
    file = tmp_path / "slurm" / "queue.py"
    file.write_text("from ..launcher.planning import plan\nfrom . import command\n")
    assert {"espnet3.launcher.planning.plan", "espnet3.slurm.command"} <= imports(file)


SLURMS_COMMANDS = {"sbatch", "srun", "salloc", "scancel", "scontrol", "squeue", "sacct", "sacctmgr", "sinfo"}
SUBMITITS = "launcher/submit/executor.py"
"""It gives the environment of sbatch and the command that submitit has made to `slurm.command.ask`."""


def slurm_texts(tree: ast.AST) -> set[str]:
    """Names of Slurm's variables, and of its commands where they stand alone, as in a list of arguments."""
    texts = {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    return {
        text for text in texts if text in SLURMS_COMMANDS or text.startswith(("SLURM_", "SLURMD_", "SBATCH_"))
    }


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_one_room_runs_slurms_commands_and_reads_its_environment(path: Path):
    name = path.relative_to(PACKAGE).as_posix()
    if name.startswith("slurm/") or name == SUBMITITS:
        return
    assert slurm_texts(ast.parse(path.read_text())) == set()
    assert "espnet3.slurm.command.ask" not in imports(path)


FOLDERS = sorted({path.parent for path in SOURCES})
MOST_FILES = 13
"""Of Python at one level, `__init__.py` included: about a dozen."""


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_folder_says_what_belongs_there_and_holds_few_files(folder: Path):
    if "plugins" in folder.parts or folder == PACKAGE:
        return
    assert ast.get_docstring(ast.parse((folder / "__init__.py").read_text()))
    assert len(list(folder.glob("*.py"))) <= MOST_FILES


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


def test_the_architecture_names_files_that_exist():
    text = (PACKAGE / "README.md").read_text()
    named = set(re.findall(r"`([a-z_]+(?:/[a-z_]+)+\.py)`", text)) | set(re.findall(r"`([a-z_]+\.py)`", text))
    roots = (PACKAGE, PACKAGE / "launcher", PACKAGE.parent)
    missing = [name for name in sorted(named) if not any((root / name).exists() for root in roots)]
    assert named and missing == []
    rooms = {
        name
        for row in re.findall(r"^\| (`.*?) \|", text, re.MULTILINE)
        for name in re.findall(r"`(\w+)`", row)
    }
    assert {name.split(".")[0] for name in MAY_IMPORT} - {"__main__"} <= rooms
