"""The user's site file: it lies between the recipe and the command line, and a mistake in it is one line."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from espnet3.config.compose import compose, find_recipe
from espnet3.config.fingerprint import stage_part
from espnet3.config.site import site_path
from espnet3.errors import UserError
from espnet3.resources import RESOURCES
from espnet3.stage_table import STAGES

SIZE = [name for name, one in RESOURCES.items() if one.decides_ranks]

ROOT = Path(__file__).resolve().parents[2]
FULL = """
launcher: slurm
resources:
  all:
    partition: gpu
    account: ${oc.env:SITE_TEST_ACCOUNT}
    timeout_min: 60
    cpus_per_task: 3
    setup: [module load cuda]
    additional_parameters: {reservation: course}
  train: {partition: big, additional_parameters: {exclude: "node[1-2]"}}
  prepare: {launcher: local}
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Write a site file, which is read from then on."""

    def write(text: str) -> Path:
        path = tmp_path / "my-site.yaml"
        path.write_text(text)
        monkeypatch.setenv("ESPNET3_SITE", str(path))
        monkeypatch.setenv("SITE_TEST_ACCOUNT", "speech")
        return path

    return write


def composed(recipe: Path, *overrides: str):
    return compose(find_recipe(recipe), overrides)


def message(recipe: Path, *overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        composed(recipe, *overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_file_is_the_one_named_or_the_one_in_the_configuration_folder():
    home = {"HOME": "/home/ann"}
    assert site_path(home) == Path("/home/ann/.config/espnet3/site.yaml")
    assert site_path({**home, "XDG_CONFIG_HOME": "/cfg"}) == Path("/cfg/espnet3/site.yaml")
    assert site_path({**home, "XDG_CONFIG_HOME": "/cfg", "ESPNET3_SITE": "/a.yaml"}) == Path("/a.yaml")
    assert site_path({**home, "ESPNET3_SITE": ""}) == site_path(home)


def test_it_lies_over_the_recipe_and_under_the_command_line(small_recipe: Path, site):
    with (small_recipe / "conf" / "config.yaml").open("a") as recipe:
        recipe.write("resources: {train: {partition: recipes, qos: long}}\n")
    site(FULL)
    config = composed(small_recipe, "resources.train.timeout_min=90")
    assert config.launcher.name == "slurm"
    assert [config.resources[stage].launcher for stage in STAGES] == ["local", "slurm", "slurm", "slurm"]
    assert [config.resources[stage].partition for stage in STAGES] == ["gpu", "gpu", "big", "gpu"]
    train = config.resources.train
    assert (train.account, train.qos, train.timeout_min, train.cpus_per_task) == ("speech", "long", 90, 3)
    assert train.setup == ["module load cuda"]
    assert train.additional_parameters == {"reservation": "course", "exclude": "node[1-2]"}
    assert config.resources.validate.additional_parameters == {"reservation": "course"}
    assert composed(small_recipe, "launcher=debug").launcher.name == "debug"


def test_no_file_an_empty_one_and_the_template_change_nothing(
    small_recipe: Path, site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    plain = OmegaConf.to_yaml(composed(small_recipe))
    for text in ("", "# nothing\n", "resources:\n", (ROOT / "conf" / "site.yaml").read_text()):
        site(text)
        assert OmegaConf.to_yaml(composed(small_recipe)) == plain
    monkeypatch.delenv("ESPNET3_SITE")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert OmegaConf.to_yaml(composed(small_recipe)) == plain


def test_every_line_that_the_template_offers_is_taken(small_recipe: Path, site):
    text = (ROOT / "conf" / "site.yaml").read_text()
    head, body = text.split("\n\n", 1)
    assert all(line.startswith("#") for line in head.splitlines())
    site(re.sub(r"^( *)# ", r"\1", body, flags=re.MULTILINE))
    config = composed(small_recipe)
    assert config.launcher.name == "slurm"
    assert config.resources.train.additional_parameters == {"reservation": "my_course"}
    assert config.resources.prepare.partition == "cpu"


@pytest.mark.parametrize("name", ["asr", "vocoder", None])
def test_no_stage_is_another_by_what_a_site_file_holds(small_recipe: Path, site, name: str | None):
    recipe = ROOT / "egs" / "mini_digits" / name if name else small_recipe
    before = composed(recipe)
    site(FULL)
    after = composed(recipe)
    assert after.resources.train.cpus_per_task == 3
    assert after.stats_dir == before.stats_dir
    for stage in STAGES:
        assert stage_part(after, stage) == stage_part(before, stage)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("resources: {all: {partiton: gpu}}", ["resources.all.partiton", "did you mean partition?"]),
        ("resources: {trian: {partition: gpu}}", ["resources.trian", "did you mean train?"]),
        ("resource: {}", ["resource is no key", "did you mean resources?"]),
        ("optimizer: {lr: 1}", ["optimizer is no key", "launcher, resources"]),
        ("launcher: slrm", ["launcher=slrm", "slurm"]),
        ("launcher: {name: slurm}", ["launcher=", "one of local, slurm"]),
        ("resources: {all: {launcher: slurm}}", ["resources.all.launcher", "at the top"]),
        ("resources: {all: {timeout_min: 1h}}", ["resources.all.timeout_min=1h", "a whole number"]),
        ("resources: {train: {mem_gb: [1]}}", ["resources.train.mem_gb", "GB"]),
        ("resources: {all: gpu}", ["resources.all takes a group of keys", "'gpu'"]),
        ("resources: [1]", ["resources takes a group of keys"]),
        ("- a", ["the file takes a group of keys", "not a list"]),
        ("'1:00:00'", ["the file takes a group of keys", "not a single value"]),
        ("just words", ["just words is no key"]),
        ("resources: {all: {account: '${oc.env:NO_SUCH_VARIABLE}'}}", ["account", "NO_SUCH_VARIABLE"]),
        ("resources: {all: [1,\n", ["broken YAML", "line"]),
        ("launcher: slurm\nlauncher: local\n", ["broken YAML", "duplicate"]),
        *((f"resources: {{all: {{{name}: 2}}}}", [f"resources.all.{name}", "the result"]) for name in SIZE),
    ],
)
def test_a_mistake_in_the_file_is_one_line_with_file_and_key(
    small_recipe: Path, site, text: str, parts: list
):
    site(text)
    said = message(small_recipe)
    for part in ("my-site.yaml", *parts):
        assert part in said


def test_a_file_that_is_named_and_not_there_ends_the_command_with_2(small_recipe: Path, run, tmp_path: Path):
    code, output = run(small_recipe, "--cfg", "job", ESPNET3_SITE=str(tmp_path / "none.yaml"))
    assert code == 2
    assert output.count("\n") == 1 and "none.yaml: there is no such file" in output
    code, output = run(small_recipe, "--cfg", "job", ESPNET3_SITE=str(tmp_path))
    assert code == 2 and "is a folder, not a file" in output


def test_what_is_composed_shows_the_merged_result(small_recipe: Path, site, run):
    site(FULL)
    code, output = run(small_recipe, "--cfg", "job")
    assert code == 0
    assert "partition: big" in output and "name: slurm" in output


def test_an_empty_group_takes_keys_from_the_command_line(small_recipe: Path):
    config = composed(small_recipe, "resources.train.additional_parameters={reservation: mine}")
    assert config.resources.train.additional_parameters == {"reservation": "mine"}
