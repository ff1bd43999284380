"""Resources by sbatch's names and in sbatch's forms: one message says what is right here."""

import pytest

from espnet3.config.checks.sbatch_names import minutes_of, resource_named_by_sbatch


@pytest.mark.parametrize(
    ("key", "value", "meant"),
    [
        ("resources.train.time", "1h", "resources.train.timeout_min=60"),
        ("resources.train.t", "1-12:00:00", "resources.train.timeout_min=2160"),
        ("resources.prepare.time", 90, "resources.prepare.timeout_min=90"),
        ("resources.train.time", "tomorrow", "resources.train.timeout_min=…"),
        ("resources.train.mem", "10G", "resources.train.mem_gb=10"),
        ("resources.train.mem", 4096, "resources.train.mem_gb=4"),
        ("resources.train.ntasks-per-node", 2, "resources.train.tasks_per_node=2"),
        ("resources.train.gpus", 2, "resources.train.gpus_per_node=…"),
        ("resources.train.nodes", 2, ""),
        ("resources.train.nothing", 2, ""),
        ("trainer.time", "1h", ""),
    ],
)
def test_a_resource_by_sbatchs_name_is_said_as_it_is_given_here(key: str, value: object, meant: str):
    assert resource_named_by_sbatch(key, value) == meant


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("1h", 60), ("90m", 90), ("1h30m", 90), ("2d", 2880), ("1:00:00", 60), ("30s", 1), ("45min", 45)],
)
def test_a_time_is_read_as_people_write_it(text: str, minutes: int):
    assert minutes_of(text) == minutes


@pytest.mark.parametrize("text", ["soon", "1x", "", "9" * 5000, "h", None, True])
def test_what_is_no_time_is_none(text: object):
    assert minutes_of(text) is None
