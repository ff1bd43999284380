"""A saved configuration, a site file or an override that is damaged is told in one line."""

from pathlib import Path

import pytest

from espnet3.config.overrides import parse_overrides
from espnet3.config.saved import read_config
from espnet3.config.site import read_site
from espnet3.errors import UserError


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"text",
        b"5",
        b"'1:00:00'",
        b"[1]",
        b"a: [",
        b"recipe_dir: \xff",
        b"recipe_dir: 1\n\0",
        b"a: 1",
        b"[" * 5000,
    ],
)
def test_a_damaged_file_is_refused_in_one_line(content: bytes, tmp_path: Path):
    (tmp_path / "config.yaml").write_bytes(content)
    with pytest.raises(UserError, match=r"^.*config\.yaml, a saved configuration, is damaged: .*$") as caught:
        read_config(tmp_path / "config.yaml")
    assert "\n" not in str(caught.value)


def test_a_missing_one_and_one_that_can_t_be_read_are_told_apart(tmp_path: Path):
    with pytest.raises(UserError, match=r"config\.yaml is gone"):
        read_config(tmp_path / "config.yaml")
    (tmp_path / "config.yaml").mkdir()
    with pytest.raises(UserError, match=r"can't read .*config\.yaml: Is a directory"):
        read_config(tmp_path / "config.yaml")


@pytest.mark.parametrize("content", ["'0'", "5", "a: " + "[" * 3000])
def test_a_site_file_of_another_shape_is_refused(content: str, tmp_path: Path):
    (tmp_path / "site.yaml").write_text(content)
    with pytest.raises(UserError, match=r"site\.yaml"):
        read_site({"ESPNET3_SITE": str(tmp_path / "site.yaml")})


def test_an_override_with_a_number_of_thousands_of_digits_is_refused():
    with pytest.raises(UserError, match=r"is no override .*: Exceeds the limit"):
        parse_overrides([f"seed={'9' * 5000}"])
