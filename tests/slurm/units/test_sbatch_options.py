"""Further options of sbatch, commands and lines of shell: what may be given, and what to give instead."""

from pathlib import Path

import pytest

from espnet3.config.compose import compose, find_recipe
from espnet3.errors import UserError
from espnet3.resources import Resources
from espnet3.slurm.queue import token_in
from espnet3.slurm.sbatch_options import gpu_option, job_comment, job_name, job_options, sbatch_spelling


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
        ("dependency: afterok:1", "the stage before"),
        ("kill-on-invalid-dep: 'no'", "cancelled"),
        ("signal: USR1@60", "resources.train.signal_delay_s"),
        ("requeue: true", "resources.train.max_restarts"),
        ("no_requeue: true", "resources.train.max_restarts"),
        ("job_name: mine", "'p42-{name}'; tag=NAME names a run"),
        ("array: 1-3", "one job"),
        ("clusters: other", "this login node's own cluster"),
        ("M: other", "long name"),
        ("wait: true", "calls sbatch itself"),
        ("nodes: 2", "resources.train.nodes"),
        ("ntasks: 2", "resources.train.tasks_per_node"),
        ("gpus_per_node: 2", "resources.train.gpus_per_node"),
        ("gpus_per_node: 'v100:2'", "resources.train.gpus_per_node"),
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


SITE = """
resources:
  all:
    additional_parameters:
      gres: gpu:v100
      mem-per-cpu: true
      comment: p42
      job-name: p42-{name}
"""


def test_a_site_gives_once_in_which_form_it_wants_gpus_memory_comment_and_name(
    small_recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "mine.yaml").write_text(SITE)
    monkeypatch.setenv("ESPNET3_SITE", str(tmp_path / "mine.yaml"))
    overrides = [f"resources.train.{word}" for word in ("gpus_per_node=2", "mem_gb=10", "cpus_per_task=4")]
    config = composed(small_recipe, *overrides)
    train, prepare = (Resources.of(config, stage) for stage in ("train", "prepare"))
    options = job_options(train)
    assert (options["gres"], options["mem-per-cpu"]) == ("gpu:v100:2", "1280M")  # 10 GB by 2 x 4 CPUs
    assert not {"gpus-per-node", "mem", "comment", "job-name"} & options.keys()
    assert not {"gres", "mem-per-cpu", "mem"} & job_options(prepare).keys()
    assert job_name(train, "asr.default.2-train") == "p42-asr.default.2-train"
    assert token_in(job_comment(train, "espnet3:abc-0")) == "espnet3:abc-0"
    assert job_comment(train, "espnet3:abc-0").startswith("p42 ")


@pytest.mark.parametrize(
    ("further", "gpus", "option"),
    [
        ({}, 2, {"gpus-per-node": 2}),
        ({}, 0, {}),
        ({"gpus_per_node": "a100"}, 2, {"gpus-per-node": "a100:2"}),
        ({"gres": "gpu"}, 3, {"gres": "gpu:3"}),
        ({"gres": "gpu:a100_80,tmp:10G"}, 1, {"gres": "gpu:a100_80:1,tmp:10G"}),
        ({"gres": "gpu:a100,tmp:10G"}, 0, {"gres": "tmp:10G"}),
        ({"gres": "gpu:a100:4"}, 2, {"gpus-per-node": 2}),  # as given: Slurm decides
    ],
)
def test_gpus_are_requested_of_a_kind_and_by_the_option_that_a_site_takes(further, gpus: int, option):
    resources = Resources(gpus_per_node=gpus, additional_parameters=further)
    assert gpu_option(resources) == option
    assert {name: job_options(resources)[name] for name in option} == option
