"""Which keys and which code decide what a stage makes."""

from pathlib import Path

from espnet3.config.compose import compose, find_recipe
from espnet3.config.fingerprint import changes, code_files, flatten, stage_part


def part(recipe: Path, stage: str, *overrides: str):
    return stage_part(compose(find_recipe(recipe), overrides), stage)


def test_resources_launcher_and_tag_change_no_stage(small_recipe: Path):
    for stage in ("prepare", "collect_stats", "train", "validate"):
        plain = part(small_recipe, stage)
        other = ("tag=x", "launcher=debug", "resources.train.gpus_per_node=2", "resources.train.nodes=2")
        assert part(small_recipe, stage, *other) == plain, stage


def test_an_optimizer_changes_the_training_only(small_recipe: Path):
    changed = {
        stage
        for stage in ("prepare", "collect_stats", "train")
        if part(small_recipe, stage) != part(small_recipe, stage, "optimizer.lr=2")
    }
    assert changed == {"train"}


def test_paths_below_the_recipe_are_relative_so_that_a_moved_clone_is_the_same(
    small_recipe: Path, tmp_path: Path
):
    before = part(small_recipe, "train")
    moved = tmp_path / "elsewhere"
    small_recipe.parent.rename(moved)
    assert part(moved / "task", "train") == before


def test_changes_name_old_and_new():
    old, new = (
        flatten({"a": {"b": 1, "c": [1, 2]}, "d": None}),
        flatten({"a": {"b": 2, "c": [1, 2]}, "e": {}}),
    )
    assert changes(old, new) == ["a.b: 1 → 2", "d: null → (absent)", "e: (absent) → {}"]


def test_code_is_followed_through_imports_within_the_recipe(tmp_path: Path):
    recipe, corpus = tmp_path / "corpus" / "task", tmp_path / "corpus"
    (corpus / "shared").mkdir(parents=True)
    recipe.mkdir()
    (corpus / "shared" / "__init__.py").touch()
    (corpus / "shared" / "noise.py").write_text("from . import level\nimport numpy\n")
    (corpus / "shared" / "level.py").touch()
    (corpus / "shared" / "unused.py").touch()
    (recipe / "model.py").write_text(
        "import torch\nfrom layers import Layer\nfrom shared.noise import pink\n"
    )
    (recipe / "layers.py").touch()
    (recipe / "evaluate.py").touch()
    found = code_files({"model._target_": "model.Model", "x._target_": "torch.optim.Adam"}, (recipe, corpus))
    names = {str(path.relative_to(corpus)) for path in found}
    assert names == {
        "task/model.py",
        "task/layers.py",
        "shared/__init__.py",
        "shared/noise.py",
        "shared/level.py",
    }
