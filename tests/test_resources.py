"""Resources are one class: a new one is a field and a line of conf, and nothing forgets it."""

import re
from dataclasses import dataclass, field, fields
from pathlib import Path

import pytest
from hydra_plugins.hydra_submitit_launcher.config import SlurmQueueConf
from omegaconf import OmegaConf

from espnet3.config.allocation import allocated_resources
from espnet3.config.compose import compose, find_recipe
from espnet3.config.shared_resources import compose_resources
from espnet3.errors import UserError
from espnet3.hydra_app.settings import launcher_settings
from espnet3.launcher.submit.request import JobRequest
from espnet3.resources import RESOURCES, Resources, resource_metadata, resources_of
from espnet3.slurm.allocation import Allocation
from espnet3.slurm.srun import srun_command
from espnet3.stage_table import STAGES
from espnet3.value_checks import NAME

CONF = Path(__file__).resolve().parents[1] / "conf" / "resources.yaml"


@dataclass(frozen=True)
class More(Resources):
    """A resource more."""

    reservation: str | None = field(
        default=None,
        metadata=resource_metadata("nodes put aside", NAME, sbatch="reservation", decides=("magnetic",)),
    )


@pytest.fixture
def more(small_recipe: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe where there is one more, as if its field and its line stood where they belong."""
    monkeypatch.setitem(RESOURCES, "reservation", resources_of(More)["reservation"])
    file = small_recipe / "conf" / "config.yaml"
    file.write_text(file.read_text() + "resources: {train: {reservation: null}}\n")
    return small_recipe


def conf_comments() -> dict[str, str]:
    """Key of conf/resources.yaml -> its comment, of all its lines."""
    comments: dict[str, str] = {}
    key = ""
    for line in CONF.read_text().splitlines():
        if found := re.fullmatch(r"    (\w+): (?:.*?[^ ])? +# (.+)", line):
            key = found[1]
            comments[key] = found[2]
        elif (found := re.fullmatch(r" {30,}# (.+)", line)) and key:
            comments[key] += " " + found[1]
    return comments


def test_conf_says_of_every_resource_what_the_class_says():
    comments = conf_comments()
    assert comments.pop("launcher")
    assert comments == {name: one.doc for name, one in RESOURCES.items()}


def test_conf_has_the_defaults_of_the_class_for_every_stage():
    config = compose_resources([])
    assert set(config.resources) == set(STAGES)
    for stage in STAGES:
        assert set(config.resources[stage]) == {*RESOURCES, "launcher"}
        assert Resources.of(config, stage) == Resources()
    assert all(
        one.check[0](getattr(Resources(), name) or config.resources.train[name])
        for name, one in RESOURCES.items()
    )


def test_an_allocation_gives_what_stands_above_launcher_and_memory():
    names = list(conf_comments())
    there = Allocation("7", nodes=2, cpus_per_node=8, gpus_per_node=2)
    given = {*names[: names.index("launcher")], "mem_gb"}
    assert set(allocated_resources(there, "train")) == set(allocated_resources(there, "prepare")) == given


def test_what_a_step_is_started_with_decides_whether_it_fits_into_a_warm_one():
    assert all(one.fits is not None for one in RESOURCES.values() if one.srun)


def test_hydras_launcher_is_given_all_that_is_not_about_our_own_tasks():
    given = {name.removeprefix("hydra.launcher.") for name in launcher_settings("submitit_slurm")}
    assert given == {name for name, one in RESOURCES.items() if not one.own_tasks_only} | {"cpus_per_task"}
    assert given <= {item.name for item in fields(SlurmQueueConf)}


def test_a_new_resource_is_checked_and_reaches_sbatch(more: Path):
    config = compose(find_recipe(more), ["resources.train.reservation=spring"])
    asked = More.of(config, "train")
    assert isinstance(asked, More) and asked.reservation == "spring"
    script = JobRequest(asked, Path("/j"), name="n", token="t", output=Path("/o")).script
    assert "#SBATCH --reservation=spring\n" in script
    assert "reservation" not in JobRequest(More(), Path("/j"), name="n", token="t", output=Path("/o")).script
    assert not any("reservation" in word for word in srun_command(asked, Path("a"), Path("o"), program=["m"]))
    assert asked.for_all([More(reservation="autumn")]) == asked and asked.fits_into(More())
    with pytest.raises(UserError, match="takes a name, or null"):
        compose(find_recipe(more), ["resources.train.reservation=[1]"])
    for option in ("reservation", "magnetic"):
        with pytest.raises(UserError, match=r"use resources.train.reservation"):
            compose(find_recipe(more), [f"+resources.train.additional_parameters.{option}=x"])


def test_a_new_resource_reaches_hydras_launcher_though_that_has_no_key_for_it(more: Path):
    overrides = ["resources.train.reservation=spring", "+resources.train.additional_parameters.exclude=node1"]
    config = compose(find_recipe(more), overrides)
    OmegaConf.set_struct(config, False)
    words = launcher_settings("submitit_slurm")
    assert "hydra.launcher.reservation" not in words
    config.launched = OmegaConf.structured(SlurmQueueConf)
    config.launched.additional_parameters = words["hydra.launcher.additional_parameters"]
    assert config.launched.additional_parameters == {"reservation": "spring", "exclude": "node1"}
