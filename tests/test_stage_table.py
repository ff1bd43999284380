"""A new stage is one entry in the table, and the function that it names: all else follows."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from espnet3.commands.parser import Parser
from espnet3.commands.run import add
from espnet3.config.compose import compose, find_recipe
from espnet3.config.fingerprint import stage_part
from espnet3.errors import UserError
from espnet3.launcher.dispatch import dispatch
from espnet3.launcher.planning.decide import decide
from espnet3.launcher.planning.plan import plan, stage_range
from espnet3.rundir.layout import is_run_dir, stage_home
from espnet3.rundir.records.record import read_record
from espnet3.rundir.task import StageResult, Task
from espnet3.stage_table import STAGES, Stage, keys, label
from espnet3.stages import stage_function
from espnet3.status.run_files import read_run
from espnet3.sweep.show.states import decisive_stages
from espnet3.terminal.screen import Screen

CONF = """
score: {threshold: 0.5, workers: 2}
resources: {score: {nodes: 1, cpus_per_task: 2}}
"""


def score(config: Any, task: Task) -> StageResult:
    """The function of the new stage."""
    return StageResult(f"scored from {config.score.threshold}", Path(config.exp_dir))


@pytest.fixture
def recipe(small_recipe: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe with a stage of its own after those there are."""
    module = ModuleType("scoring")
    module.score = score  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "scoring", module)
    stage = Stage(
        number=4,
        name="score",
        function="scoring.score",
        directory="exp_dir",
        fingerprint=keys("score"),
        reads=(),
        settings=("score",),
        speed_only=("score.workers",),
    )
    monkeypatch.setitem(STAGES, "score", stage)
    file = small_recipe / "conf" / "config.yaml"
    file.write_text(file.read_text() + CONF)
    return small_recipe


def test_every_stage_has_its_number_and_a_function_that_is_there():
    assert [stage.number for stage in STAGES.values()] == list(range(len(STAGES)))
    assert all(name == stage.name and callable(stage_function(name)) for name, stage in STAGES.items())


def test_a_new_stage_is_planned_run_recorded_and_shown(recipe: Path, capsys: pytest.CaptureFixture[str]):
    assert stage_range("3", None) == ["validate", "score"] and stage_range("score", None) == ["score"]
    config = compose(find_recipe(recipe), ["launcher=debug"])
    jobs = plan(config, ["score"])
    assert str(jobs[0]) == "stage 4 score: launcher=debug, 1 x 1 task, 2 CPUs each"
    assert jobs[0].directory == config.exp_dir and stage_home(config, "score") == Path(config.exp_dir)
    assert dispatch(jobs, config, force=False, detach=False, command=["run.sh"], screen=Screen()) == 0
    assert "stage 4 score: scored from 0.5 in" in capsys.readouterr().out
    record = read_record(Path(config.exp_dir), "score")
    assert record is not None and record.done and record.part == {"score.threshold": 0.5}
    assert is_run_dir(Path(config.exp_dir))
    assert decide(config, "score").action == "skip"
    assert decide(compose(find_recipe(recipe), ["score.workers=8"]), "score").action == "skip"
    assert decide(compose(find_recipe(recipe), ["score.threshold=0.6"]), "score").action == "run"
    shown = {stage.stage: stage for stage in read_run(Path(config.exp_dir)).stages}
    assert shown["score"].record is not None


def test_its_settings_are_its_own_and_it_counts_as_a_part_of_a_trial(recipe: Path):
    config = compose(find_recipe(recipe), [])
    assert not any(key.startswith("score") for key in stage_part(config, "train"))
    assert decisive_stages(["prepare", "train", "score"]) == ["train", "score"]
    with pytest.raises(UserError, match="did you mean score"):
        compose(find_recipe(recipe), ["+scores.threshold=1"])


def test_it_may_not_have_several_tasks_unless_its_entry_says_so(recipe: Path):
    config = compose(find_recipe(recipe), ["+resources.score.tasks_per_node=2"])
    with pytest.raises(UserError, match="stage 4 score is one task"):
        plan(config, ["score"])


def test_help_and_messages_name_it(recipe: Path, capsys: pytest.CaptureFixture[str]):
    parser = Parser()
    add(parser.add_subparsers())
    with pytest.raises(SystemExit):
        parser.parse_args(["run", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "2 train, 3 validate, 4 score" in shown and "(default: 4)" in shown
    assert label("score") == "stage 4 score"
    with pytest.raises(UserError, match="3 validate, 4 score"):
        stage_range("5", None)


def test_a_stage_without_a_fingerprint_is_an_error(small_recipe: Path):
    with pytest.raises(TypeError, match="fingerprint"):
        Stage(number=4, name="score", function="scoring.score", directory="exp_dir")  # type: ignore[call-arg]
    with pytest.raises(KeyError, match="score"):
        stage_part(compose(find_recipe(small_recipe), []), "score")
