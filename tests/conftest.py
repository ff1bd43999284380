"""What tests share: a recipe of their own, and commands run as a user runs them."""

import gc
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from clones import copy_of_tree
from espnet3.config import compose
from forked_ranks import forked_ranks
from shared_compositions import shared

ROOT = Path(__file__).resolve().parents[1]
for size in ("COLUMNS", "LINES"):  # readline, which pytest imports, gives them to the workers of xdist
    os.environ.pop(size, None)
    os.unsetenv(size)

SMALL_CONFIG = """
defaults: [base, _self_]
manifests: {train: "${data_dir}/train.jsonl"}
prepare: {_target_: making.make, data_dir: "${data_dir}", size: 3, rate: 0.5, mode: ok}
dataset: {}
dataloader: {}
model: {_target_: nothing.Here, stats: "${stats_dir}/x"}
optimizer: {_target_: torch.optim.Adam, lr: 1e-3}
trainer: {max_epochs: 1}
validate: {_target_: nothing.Here}
"""

SMALL_PREPARE = '''
"""A stage 0 that does what a test asks for by `mode`."""
import logging
import os
import time
from pathlib import Path

from espnet3.errors import UserError
from espnet3.rundir.files.atomic import write_text
from espnet3.rundir.stop import Stopped
from espnet3.rundir.task import StageResult


def make(data_dir, size, rate, mode, task):
    directory = Path(data_dir)
    logging.getLogger(__name__).info("making %d in mode %s", size, mode)
    print("printed by a library")
    (directory / f"begun-{os.getpid()}").touch()
    task.heartbeat.update(force=True, unit="utterance", done=1, total=size)
    if mode == "raise":
        raise ValueError("no microphone")
    if mode == "mistake":
        raise UserError("there is no corpus in /nowhere")
    if mode == "die":
        os.kill(os.getpid(), 9)
    while mode == "wait" and not (directory / "go").exists():
        if task.stop.is_set():
            (directory / "saved").touch()
            raise Stopped(task.stop.reason)
        time.sleep(0.01)
    while mode == "deaf":
        time.sleep(0.01)
    write_text(directory / "train.jsonl", "{}\\n" * size)
    return StageResult(f"{size} utterances", directory, outputs=[directory / "train.jsonl"])
'''


# Hypothesis fails examples of more than 0.2 s, which any of them takes on a busy machine.
settings.register_profile("without deadline", deadline=None)
settings.load_profile("without deadline")

APART = (
    *("tests/slurm/test_readme.py", "tests/test_readme.py", "tests/slurm/test_faults", "tests/slurm/"),
    *("tests/components/checkpoint/test_exact_resume.py", "tests/stages/test_killed_training.py"),
)
"""Long tests that share nothing but what workers make once each: any worker may take any of them."""
INSTALLING = {"workers_cluster", "browser"}
"""Fixtures that may install packages of the distribution: no test that uses one is quick."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes long, and with Slurm, which waits much of its time; other files are run whole.

    Of these the ones with slow tests come first, so that no worker is left with a long one in the end.
    """
    slow_tests: Counter[Path] = Counter()
    for item in items:
        if INSTALLING.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)
        slow_tests[item.path] += item.get_closest_marker("slow") is not None

    def turn(item: pytest.Item) -> tuple[int, int]:
        where = item.path.relative_to(ROOT).as_posix()
        apart = next((turn for turn, prefix in enumerate(APART) if where.startswith(prefix)), len(APART))
        if apart < len(APART):
            return apart, 0
        item.add_marker(pytest.mark.xdist_group(where))
        return apart, -slow_tests[item.path]

    items.sort(key=turn)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection() -> Generator[None, object, object]:
    """Import tests and what they import without the garbage collector, which took half of the time of it.

    What is imported stays: there is no need to look at it again and again.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture
def small_recipe(tmp_path: Path) -> Path:
    """A recipe whose stage 0 starts in a moment and can wait, fail and be stopped."""
    directory = tmp_path / "corpus" / "task"
    (directory / "conf").mkdir(parents=True)
    (directory / "conf" / "config.yaml").write_text(SMALL_CONFIG)
    (directory / "making.py").write_text(SMALL_PREPARE)
    (directory / "nothing.py").write_text("class Here:\n    def __init__(self, **options): ...\n")
    return directory


@pytest.fixture
def template(tmp_path: Path) -> Path:
    """A copy of the smallest real recipe, egs/TEMPLATE."""
    directory = tmp_path / "egs" / "mine"
    shutil.copytree(
        ROOT / "egs" / "TEMPLATE", directory, ignore=shutil.ignore_patterns("exp", "data", "__pycache__")
    )
    return directory


@pytest.fixture(autouse=True, scope="session")
def nowhere_special() -> Iterator[None]:
    """Neither a site file nor an allocation of the person who runs the tests must decide them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ESPNET3_SITE", os.devnull)
        for name in os.environ:
            if name.startswith("SLURM_") and name != "SLURM_CONF":
                patch.delenv(name)
        yield


@pytest.fixture(autouse=True, scope="session")
def shared_compositions() -> Iterator[None]:
    """A recipe is composed once by each worker, not for each of a thousand command lines."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compose, "_compose_files", shared(compose._compose_files))
        yield


@pytest.fixture(autouse=True, scope="session")
def forkserver(nowhere_special: None) -> Iterator[None]:
    """Ranks that tests start are forks of a process of this worker that has imported torch and Lightning.

    What a rank costs is its imports. Quick tests, whose ranks import little, have none of that, nor have
    those that ask for `fresh_ranks`: of how processes start, what they start with, and how they are killed.
    """
    with forked_ranks(ROOT) as environment, pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        yield


@pytest.fixture
def fresh_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every process that the test starts is started, and imports what it needs, as outside of tests."""
    monkeypatch.delenv("ESPNET3_FORKSERVER", raising=False)


@pytest.fixture(autouse=True)
def _ranks_of_quick_tests(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("slow") is None:
        request.getfixturevalue("fresh_ranks")


@pytest.fixture(scope="session")
def shared_by_workers(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder of all workers of pytest; see `made_once`."""
    base = tmp_path_factory.getbasetemp()
    return base if worker_id == "master" else base.parent


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a clone would hold of this working tree."""
    return copy_of_tree(ROOT, tmp_path_factory.mktemp("clone"))


@pytest.fixture(autouse=True, scope="module")
def recipes_are_forgotten() -> Iterator[None]:
    """Every recipe may call a module `model`: what one test file imported, the next must not find."""
    path, python_path = list(sys.path), os.environ.get("PYTHONPATH")
    yield
    sys.path[:] = path
    if python_path is None:
        os.environ.pop("PYTHONPATH", None)
    else:
        os.environ["PYTHONPATH"] = python_path
    for name, module in list(sys.modules.items()):
        parents = Path(getattr(module, "__file__", None) or "").parts[:-1]
        if "egs" in parents and "tests" not in parents:
            del sys.modules[name]


class Command:
    """`espnet3 VERB` in a process of its own."""

    def __init__(self, *words: str | Path, **environment: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "espnet3", *map(str, words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
            start_new_session=True,
        )

    def finish(self) -> tuple[int, str]:
        """Wait for the end: exit code and everything it printed."""
        output, _ = self.process.communicate(timeout=1200)
        return self.process.returncode, output

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the command alone, not to its children."""
        self.process.send_signal(number)

    def interrupt_terminal(self) -> None:
        """Ctrl-C: every process of the foreground group gets SIGINT."""
        os.killpg(self.process.pid, signal.SIGINT)

    def kill(self) -> None:
        """End it with its children as a lost connection may, and wait until it is gone."""
        if self.process.poll() is None:  # an ended one's id may be somebody else's by now
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@pytest.fixture
def start_verb() -> Iterator[Callable[..., Command]]:
    """Start commands that are killed at the end of the test, with all their children."""
    commands: list[Command] = []

    def begin(*words: str | Path, **environment: str) -> Command:
        commands.append(Command(*words, **environment))
        return commands[-1]

    yield begin
    for command in commands:
        command.kill()


@pytest.fixture
def start(start_verb: Callable[..., Command]) -> Callable[..., Command]:
    """Start `espnet3 run` of a recipe."""
    return lambda recipe, *arguments, **environment: start_verb(
        "run", "--recipe", recipe, *arguments, **environment
    )


@pytest.fixture
def run(start: Callable[..., Command]) -> Callable[..., tuple[int, str]]:
    """Run a command to its end: exit code and output."""
    return lambda recipe, *arguments, **environment: start(recipe, *arguments, **environment).finish()


def wait_for(condition: Callable[[], object], what: str) -> None:
    """Wait until `condition()` is true; bounded, so that a bug does not hang.

    Most of the time is left to what is waited for: to ask may be a process of its own.
    """
    deadline = time.monotonic() + 300
    while True:
        asked_at = time.monotonic()
        if condition():
            return
        now = time.monotonic()
        if now > deadline:
            pytest.fail(f"timed out waiting for {what}")
        time.sleep(max(0.01, min(2.0, 3 * (now - asked_at))))


@pytest.fixture
def until() -> Callable[[Callable[[], object], str], None]:
    """`wait_for` as a fixture, so that test files need no import of this one."""
    return wait_for


class SecretRecipe:
    """A real recipe whose training needs a secret, and a look through every file that it leaves."""

    VARIABLE, SECRET = "SENTINEL_API_KEY", "b7e4-sentinel-0f3a"
    OVERRIDES = (
        "+callbacks.probe._target_=probing.Probe",
        "+callbacks.probe.api_key='${oc.env:SENTINEL_API_KEY}'",
        "+callbacks.probe.directory='${recipe_dir}'",
    )
    PROBE = """
import logging
import os
from pathlib import Path
from lightning.pytorch import Callback


class Probe(Callback):
    def __init__(self, api_key, directory):
        assert api_key == os.environ["SENTINEL_API_KEY"]
        (Path(directory) / "was-here").touch()
        logging.getLogger("probe").warning("logs in with %s", api_key)
        if (Path(directory) / "fail").exists():
            raise ValueError(f"401: {api_key} is not welcome")
"""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / "probing.py").write_text(self.PROBE)

    def holding(self, text: str) -> set[str]:
        """Names of the files below the recipe that hold `text`."""
        paths = (path for path in self.directory.rglob("*") if path.is_file())
        return {path.name for path in paths if text.encode() in path.read_bytes()}


@pytest.fixture
def secret_recipe(template: Path) -> SecretRecipe:
    """The smallest recipe with a callback that needs a secret."""
    return SecretRecipe(template)
