"""The end of a process: Python has what it calls of Python's internals."""

import atexit
import platform
import threading

import pytest


@pytest.mark.parametrize(("module", "name"), [(threading, "_shutdown"), (atexit, "_run_exitfuncs")])
def test_python_has(module, name: str):
    gone = f"Python {platform.python_version()} has no {module.__name__}.{name}, which exit_after() needs"
    assert callable(getattr(module, name, None)), gone
