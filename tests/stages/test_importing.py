"""Garbage is collected again after large imports, and modules are not looked through."""

import gc

import pytest

from espnet3.stages.importing import quick_imports


@pytest.fixture(autouse=True)
def collecting():
    yield
    gc.unfreeze()
    gc.enable()


def test_nothing_is_collected_meanwhile_and_what_was_made_is_left_alone_afterwards():
    gc.enable()
    before = gc.get_freeze_count()
    with pytest.raises(ImportError), quick_imports():
        assert not gc.isenabled()
        made = [[] for _ in range(1000)]
        raise ImportError
    assert gc.isenabled()
    assert gc.get_freeze_count() >= before + len(made)


def test_who_collects_no_garbage_goes_on_without():
    gc.disable()
    with quick_imports():
        pass
    assert not gc.isenabled()
