"""Further options of sbatch, commands and lines of shell: what may be given, and what to give instead."""

from pathlib import Path

import pytest

from espnet3.config.compose import compose, find_recipe
from espnet3.errors import UserError
from espnet3.slurm.sbatch_options import sbatch_spelling


def composed(recipe: Path, *overrides: str):
    return compose(find_recipe(recipe), overrides)


def message(recipe: Path, *overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        composed(recipe, *overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("option", "instead"),
    [
        ("output: x.log", "logs/train"),
        ("error: x.log", "logs/train"),
        ("open-mode: truncate", "logs/train"),
        ("comment: mine", "finds its jobs"),
        ("dependency: afterok:1", "the stage before"),
        ("kill-on-invalid-dep: 'no'", "cancelled"),
        ("signal: USR1@60", "resources.train.signal_delay_s"),
        ("requeue: true", "resources.train.max_restarts"),
        ("no_requeue: true", "resources.train.max_restarts"),
        ("job_name: mine", "tag=NAME"),
        ("array: 1-3", "one job"),
        ("clusters: other", "this login node's own cluster"),
        ("M: other", "long name"),
        ("wait: true", "calls sbatch itself"),
        ("nodes: 2", "resources.train.nodes"),
        ("ntasks: 2", "resources.train.tasks_per_node"),
        ("gpus_per_node: 2", "resources.train.gpus_per_node"),
        ("gpus: 2", "resources.train.gpus_per_node"),
        ("mem: 4G", "resources.train.mem_gb"),
        ("time: 60", "resources.train.timeout_min"),
        ("partition: gpu", "resources.train.partition"),
        ("--account: x", "resources.train.account"),
        ("exclude: [node1, node2]", "takes one text or number"),
        ("exclude: {a: b}", "takes one text or number"),
    ],
)
def test_what_is_decided_elsewhere_is_refused_by_name(small_recipe: Path, option: str, instead: str):
    said = message(small_recipe, f"resources.train.additional_parameters={{{option}}}")
    name = option.split(":")[0]
    assert said.startswith(f"resources.train.additional_parameters.{name}") and instead in said


def test_a_site_file_is_named_with_such_an_option(
    small_recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "mine.yaml").write_text("resources: {all: {additional_parameters: {time: 60}}}")
    monkeypatch.setenv("ESPNET3_SITE", str(tmp_path / "mine.yaml"))
    said = message(small_recipe)
    assert "mine.yaml: resources.all.additional_parameters.time" in said and "timeout_min" in said


def test_other_options_are_given_as_sbatch_spells_them_and_null_leaves_one_out(small_recipe: Path):
    options = "{exclude: 'node[1-2]', exclusive: true, nice: 10, hint: null, spread_job: false}"
    given = composed(small_recipe, f"resources.train.additional_parameters={options}")
    assert sbatch_spelling(dict(given.resources.train.additional_parameters)) == {
        "exclude": "node[1-2]",
        "exclusive": True,
        "nice": 10,
    }


@pytest.mark.parametrize(
    ("override", "part"),
    [
        ('python="apptainer exec \'image python"', "a command"),
        ("python=' '", "a command"),
        ("python=[a]", "a command"),
        ("setup=['#SBATCH --exclusive']", "additional_parameters"),
        ('setup="module load cuda"', "takes a list"),
        ("partition=true", "a name"),
    ],
)
def test_commands_and_lines_of_shell_are_checked(small_recipe: Path, override: str, part: str):
    said = message(small_recipe, f"resources.train.{override}")
    assert said.startswith(f"resources.train.{override.split('=')[0]}") and part in said
