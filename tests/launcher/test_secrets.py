"""A secret of the environment reaches the training and no file."""

import pytest

pytestmark = pytest.mark.slow


def test_a_secret_reaches_the_training_and_no_file_of_a_run(secret_recipe, run):
    recipe = secret_recipe
    code, output = run(
        recipe.directory, "trainer.max_epochs=1", *recipe.OVERRIDES, SENTINEL_API_KEY=recipe.SECRET
    )
    assert code == 0, output
    assert (recipe.directory / "was-here").exists()
    assert "logs in with ***" in output
    assert recipe.holding(recipe.SECRET) == set() and recipe.SECRET not in output
    assert recipe.holding(f"${{oc.env:{recipe.VARIABLE}}}") >= {"config.yaml", "train.json", "run.json"}

    other = {"SENTINEL_API_KEY": "quite-another-0815"}
    code, output = run(recipe.directory, "trainer.max_epochs=1", *recipe.OVERRIDES, **other)
    assert code == 0 and "stage 2 train: skipped" in output

    (recipe.directory / "fail").touch()
    arguments = (recipe.directory, "trainer.max_epochs=1", "tag=fails", *recipe.OVERRIDES)
    code, output = run(*arguments, SENTINEL_API_KEY=recipe.SECRET)
    assert code == 1 and "401: *** is not welcome" in output
    assert recipe.holding(recipe.SECRET) == set() and recipe.SECRET not in output

    code, output = run(*arguments)
    assert code == 2 and output.count("\n") == 1 and recipe.VARIABLE in output
