"""The learning curve is drawn whatever the run and its metrics are called."""

from pathlib import Path

import pytest

from espnet3.components.learning_curve import draw_learning_curve


@pytest.mark.parametrize("name", ["$a_$", "${x}", r"\\frac{", "a\udcffb", "^_{"])
def test_names_are_no_formulas(tmp_path: Path, name: str):
    curve = [(0, 1.0), (1, 0.5)]
    draw_learning_curve({f"train/{name}": curve}, tmp_path / "curve.png", title=name)
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
