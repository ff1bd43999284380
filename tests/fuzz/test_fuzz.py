"""A few cases of each fuzzer; `tools/fuzz` runs them for long."""

from pathlib import Path

import pytest

from fuzzing.__main__ import run
from fuzzing.areas.registry import AREAS
