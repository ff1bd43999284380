"""Nodes that die while a training runs on them: others, a spare, or fewer take over."""

import pytest

from disturbed_recipe import WAITING, Recipe

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("fresh_ranks")]


def train_through_the_death_of_a_node(recipe: Recipe, tag: str, *overrides: str) -> tuple[str, str]:
    """Train to the end although the node of the last rank dies; this node, and what the command says."""
    command = recipe.train(tag, WAITING, *overrides)
    recipe.begun(tag)
    victim = recipe.rank(tag, 3)["node"]
    assert recipe.cluster.tool("kill-node", victim).returncode == 0
    code, output = command.finish()
    assert code == 0, output
    return victim, output


def test_a_node_that_dies_has_its_job_run_again_on_others(recipe: Recipe):
    victim, _ = train_through_the_death_of_a_node(recipe, "node")
    assert recipe.rank("node", 3, attempt=2)["node"] != victim
    recipe.until(lambda: recipe.cluster.accounted(recipe.job("node"))[-1:] == ["COMPLETED"], "sacct")
    recipe.same_as_undisturbed("node")


def test_a_spare_takes_the_place_of_a_node_that_dies(recipe: Recipe):
    victim, output = train_through_the_death_of_a_node(recipe, "spare", "resources.train.spare_nodes=1")
    assert f"{victim} does not answer: goes on with 2 nodes, 0 spares left" in output
    job, (first, second) = recipe.job("spare"), recipe.begins("spare")
    assert {one["launched_by"]["slurm_job"] for one in (first, second)} == {f"{job}.0"}
    assert victim == first["nodes"][1] and first["nodes"][0] == second["nodes"][0]
    assert len(second["nodes"]) == 2 and victim not in second["nodes"]
    assert (ended := recipe.attempts("spare")[0])["node"] == victim, ended
    recipe.until(lambda: recipe.cluster.accounted(job)[-1:] == ["COMPLETED"], "sacct")
    recipe.same_as_undisturbed("spare")


def test_without_a_spare_a_training_goes_on_with_the_nodes_that_are_left_where_it_may(recipe: Recipe):
    victim, output = train_through_the_death_of_a_node(recipe, "fewer", "resources.train.min_nodes=1")
    assert f"{victim} does not answer, and no spare is left: goes on with 1 node instead of 2" in output
    job, (first, second) = recipe.job("fewer"), recipe.begins("fewer")
    assert {one["launched_by"]["slurm_job"] for one in (first, second)} == {f"{job}.0"}
    assert (second["nodes"], second["world_size"]) == (first["nodes"][:1], 2)
    log = recipe.exp("fewer") / "logs" / "train" / "attempt-2" / "rank-0.log"
    assert "trained on 4 ranks before, on 2 from now on" in log.read_text()
