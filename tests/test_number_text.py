"""Numbers as text."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espnet3.number_text import number_text


@pytest.mark.parametrize(
    ("value", "text"),
    [(1e-4, "1e-4"), (0.00025, "2.5e-4"), (0.05, "0.05"), (16, "16"), (16.0, "16"), (1000.0, "1000"),
     (3e6, "3e6"), (3_000_000, "3e6"), (0.0, "0"), (-2e-7, "-2e-7"), (-0.001, "-1e-3"), (0.0085, "0.0085"),
     (1e-10, "1e-10"), (99_999, "99999"), (99_999.5, "99999.5"), (1234567, "1234567"),
     (math.inf, "inf"), (math.nan, "nan")],
)  # fmt: skip
def test_numbers_are_written_as_people_write_them(value, text):
    assert number_text(value) == text
    assert math.isnan(value) or float(text) == value


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.123456, "0.1235"), (7.09812e-5, "7.098e-5"), (12345.6, "12350"), (0.99999, "1"), (123.456, "123.5"),
     (12, "12"), (123456, "123456"), (0.00012345, "1.234e-4"), (1234567.0, "1235000")],
)  # fmt: skip
def test_a_float_has_as_many_digits_as_asked_for(value, text):
    assert number_text(value, 4) == text


@given(st.integers() | st.floats(allow_nan=False, allow_infinity=False))
def test_the_text_reads_back_as_the_number(value: float):
    text = number_text(value)
    assert float(text) == pytest.approx(value, rel=1e-5)
    assert isinstance(value, float) or int(float(text)) == value or abs(value) > 2**53
