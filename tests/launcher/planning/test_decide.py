"""When a stage is skipped, runs again, continues or is refused."""

import os
from pathlib import Path

import pytest

from espnet3.config.compose import compose, find_recipe
from espnet3.errors import UserError
from espnet3.launcher.planning.decide import (
    check_inputs,
    check_model_unchanged,
    decide,
    decide_all,
    new_record,
)
from espnet3.rundir.layout import stage_home
from espnet3.rundir.records.record import finish, write_record
from espnet3.rundir.task import StageResult
from espnet3.stage_table import STAGES


def composed(recipe: Path, *overrides: str):
    return compose(find_recipe(recipe), overrides)


def done(recipe: Path, stage: str, *overrides: str, finished: bool = True):
    """Leave behind what a run of `stage` leaves."""
    config = composed(recipe, *overrides)
    home = stage_home(config, stage)
    (home / "checkpoints").mkdir(parents=True, exist_ok=True)
    output = home / "checkpoints" / "last.ckpt"
    output.touch()
    record = new_record(config, stage)
    if finished:
        result = StageResult("made", home, outputs=[output])
        owns = STAGES[stage].owns_outputs
        record = finish(record, result, 1.0, root=recipe, file_lists=home, owns_outputs=owns)
    write_record(home, stage, record)
    return config


@pytest.fixture
def manifest(small_recipe: Path) -> Path:
    path = small_recipe / "data" / "train.jsonl"
    path.parent.mkdir()
    path.write_text("1\n2\n")
    return path


@pytest.mark.parametrize("stage", ["prepare", "collect_stats", "train", "validate"])
def test_a_finished_stage_is_skipped_until_an_output_is_gone(small_recipe: Path, manifest: Path, stage: str):
    assert decide(composed(small_recipe), stage).action == "run"
    config = done(small_recipe, stage)
    assert decide(config, stage).action == "skip"
    assert decide(composed(small_recipe, "resources.train.cpus_per_task=4"), stage).action == "skip"
    (stage_home(config, stage) / "checkpoints" / "last.ckpt").unlink()
    assert decide(config, stage).action == "run"


@pytest.mark.parametrize(("stage", "action"), [("prepare", "skip"), ("collect_stats", "run")])
def test_damaged_statistics_are_made_again_and_an_edited_manifest_is_kept(
    small_recipe: Path, manifest: Path, stage: str, action: str
):
    config = done(small_recipe, stage)
    output = stage_home(config, stage) / "checkpoints" / "last.ckpt"
    os.utime(output, (1, 1))
    assert decide(config, stage).action == "skip"
    output.write_text("damaged")
    decision = decide(config, stage)
    assert decision.action == action
    assert decision.reason.endswith("last.ckpt changed" if action == "run" else "")


def test_what_is_no_file_is_named_and_not_called_missing(small_recipe: Path, tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    for path, kind in ((tmp_path, "a folder"), (tmp_path / "pipe", "a FIFO"), (Path(os.devnull), "a device")):
        config = composed(small_recipe, f"manifests.train={path}")
        for stages in (["collect_stats"], ["prepare", "collect_stats"]):
            with pytest.raises(UserError, match=rf"^manifests\.train={path} is {kind}.*, not a file"):
                check_inputs(config, stages)


@pytest.mark.parametrize("stage", ["prepare", "collect_stats", "validate"])
def test_an_unfinished_or_forced_stage_runs(small_recipe: Path, manifest: Path, stage: str):
    config = done(small_recipe, stage, finished=False)
    assert decide(config, stage).action == "run"
    done(small_recipe, stage)
    assert decide(config, stage, force=True).action == "run"


def test_one_line_of_a_manifest_makes_the_stages_behind_it_run_and_not_the_one_before(
    small_recipe: Path, manifest: Path
):
    for stage in ("prepare", "collect_stats", "train", "validate"):
        config = done(small_recipe, stage)
    manifest.write_text("1\n3\n")
    actions = [decide(config, stage).action for stage in ("prepare", "collect_stats", "validate")]
    assert actions == ["skip", "run", "run"]
    for finished in (True, False):
        with pytest.raises(
            UserError, match=r"something else: data/train\.jsonl changed\. Give tag=NAME .*--force"
        ):
            decide(config, "train")
        assert decide(config, "train", force=True).action == "from_scratch"
        done(small_recipe, "train", finished=not finished)
        manifest.write_text(manifest.read_text() + "4\n")


def test_what_a_stage_before_it_makes_again_is_not_held_against_a_training(
    small_recipe: Path, manifest: Path
):
    for stage in ("prepare", "collect_stats", "train"):
        config = done(small_recipe, stage)
    manifest.unlink()
    (stage_home(config, "prepare") / "checkpoints" / "last.ckpt").unlink()
    actions = [decision.action for decision in decide_all(config, ["prepare", "collect_stats", "train"])]
    assert actions == ["run", "run", "skip"]
    with pytest.raises(UserError, match=r"train\.jsonl is gone"):
        decide_all(config, ["collect_stats", "train"])


def test_test_data_are_no_input_of_statistics_and_training(small_recipe: Path, manifest: Path):
    def overrides(name: str, path: str) -> list[str]:
        entry = f"{{name: {name}, dataset: {{_target_: testing.Set, path: {path}}}}}"
        return [f"+dataset.test=[{entry}]", f"+manifests.{name}={path}", "+manifests.test=data/test.jsonl"]

    (small_recipe / "data" / "test.jsonl").write_text("1\n")
    (small_recipe / "testing.py").write_text("def Set(path): ...\n")
    clean = overrides("clean", "data/clean.jsonl")
    for stage in ("prepare", "collect_stats", "train", "validate"):
        before = done(small_recipe, stage, *clean)
    (small_recipe / "data" / "test.jsonl").write_text("2\n")
    (small_recipe / "testing.py").write_text("def Set(path): pass\n")
    now = composed(small_recipe, *overrides("other", "data/other.jsonl"))
    assert now.stats_dir == before.stats_dir
    assert [decide(now, stage).action for stage in ("collect_stats", "train")] == ["skip", "skip"]
    assert [decide(now, stage).action for stage in ("prepare", "validate")] == ["run", "run"]
    check_inputs(now, ["train"])
    in_training = [*clean, "+dataset.train=[{name: a, dataset: {path: data/clean.jsonl}}]"]
    with pytest.raises(UserError, match=r"manifests\.clean: \(absent\) → data/clean\.jsonl"):
        decide(composed(small_recipe, *in_training), "train")


def test_a_training_names_what_changed_and_not_the_folder_of_the_statistics(
    small_recipe: Path, manifest: Path
):
    done(small_recipe, "train")
    with pytest.raises(UserError) as caught:
        decide(composed(small_recipe, "+model.width=8"), "train")
    assert "something else: model.width: (absent) → 8. Give" in str(caught.value)


def test_changed_code_of_the_recipe_runs_the_stage_that_imports_it(small_recipe: Path, manifest: Path):
    done(small_recipe, "prepare")
    config = done(small_recipe, "collect_stats")
    with (small_recipe / "making.py").open("a") as code:
        code.write("# better\n")
    assert decide(config, "prepare").action == "skip"
    with (small_recipe / "making.py").open("a") as code:
        code.write("BETTER = True\n")
    decision = decide(config, "prepare")
    assert (decision.action, decision.reason) == ("run", "making.py changed")
    assert decide(config, "collect_stats").action == "skip"


def test_a_training_with_a_changed_configuration_is_refused_with_old_and_new(
    small_recipe: Path, manifest: Path
):
    for finished in (True, False):
        done(small_recipe, "train", finished=finished)
        with pytest.raises(UserError) as caught:
            decide(composed(small_recipe, "optimizer.lr=0.5", "seed=3"), "train")
        for part in ("optimizer.lr: 1e-3 → 0.5", "seed: 1 → 3", "tag=", "--force"):
            assert part in str(caught.value)
        forced = decide(composed(small_recipe, "optimizer.lr=0.5"), "train", force=True)
        assert forced.action == "from_scratch"


def test_a_training_may_become_longer_and_not_shorter(small_recipe: Path, manifest: Path):
    done(small_recipe, "train", "trainer.max_epochs=5")
    longer = decide(composed(small_recipe, "trainer.max_epochs=6"), "train")
    assert (longer.action, longer.reason) == ("continue", "trainer.max_epochs: 5 → 6")
    with pytest.raises(UserError, match="max_epochs: 5 → 4"):
        decide(composed(small_recipe, "trainer.max_epochs=4"), "train")


def test_an_unfinished_training_continues(small_recipe: Path, manifest: Path):
    config = done(small_recipe, "train", finished=False)
    assert decide(config, "train").action == "continue"


def test_mended_code_continues_an_unfinished_training_and_stops_at_a_finished_one(
    small_recipe: Path, manifest: Path
):
    (small_recipe / "nothing.py").write_text("def Here(stats): ...\n")
    for finished in (False, True):
        config = done(small_recipe, "train", finished=finished)
        with (small_recipe / "nothing.py").open("a") as code:
            code.write("MENDED = True\n")
        if finished:
            with pytest.raises(UserError, match=r"a finished training .*: nothing\.py changed\."):
                decide(config, "train")
        else:
            assert decide(config, "train").reason == "with other code: nothing.py changed"


def test_a_training_that_saved_nothing_can_be_started_with_any_configuration(
    small_recipe: Path, manifest: Path
):
    config = done(small_recipe, "train", finished=False)
    (stage_home(config, "train") / "checkpoints" / "last.ckpt").unlink()
    assert decide(composed(small_recipe, "seed=9"), "train").action == "run"


def test_missing_inputs_name_the_stage_that_makes_them(small_recipe: Path):
    config = composed(small_recipe)
    check_inputs(config, ["prepare", "collect_stats", "train"])
    with pytest.raises(UserError, match=r"train.jsonl is missing: stage 0 prepare"):
        check_inputs(config, ["train"])
    (small_recipe / "data").mkdir()
    (small_recipe / "data" / "train.jsonl").touch()
    with pytest.raises(UserError, match="stage 1 collect_stats makes them"):
        check_inputs(config, ["train"])
    done(small_recipe, "collect_stats")
    check_inputs(config, ["train"])
    with pytest.raises(UserError, match="has no training: stage 2 train"):
        check_inputs(config, ["validate"])


def test_a_validation_with_another_model_than_the_trained_is_refused(small_recipe: Path, manifest: Path):
    done(small_recipe, "train", "+model.width=8")
    check_model_unchanged(composed(small_recipe, "+model.width=8", "optimizer.lr=9"))
    with pytest.raises(UserError, match=r"model\.width: 8 → 16"):
        check_model_unchanged(composed(small_recipe, "+model.width=16"))


def test_a_manifest_that_a_finished_stage_0_has_not_made_is_told(small_recipe: Path, manifest: Path):
    config = done(small_recipe, "prepare")
    check_inputs(config, ["prepare", "collect_stats"])
    manifest.unlink()
    with pytest.raises(UserError, match=r"train\.jsonl is missing: stage 0 .* has not made it"):
        check_inputs(config, ["prepare", "collect_stats"])
    check_inputs(config, ["prepare", "collect_stats"], force=True)
