"""Imports without searches for garbage."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from dcgan.runtime.imports import quick_imports


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    """What the other tests find is as before."""
    yield
    gc.enable()
    gc.unfreeze()


def test_nothing_is_collected_inside_and_everything_is_spared_afterwards() -> None:
    gc.enable()
    gc.unfreeze()
    with quick_imports():
        assert not gc.isenabled()
        assert gc.get_freeze_count() == 0
    assert gc.isenabled()
    assert gc.get_freeze_count() > 1000


def test_an_import_that_fails_leaves_the_collector_on() -> None:
    with pytest.raises(ModuleNotFoundError), quick_imports():
        import no_such_module_anywhere  # noqa: F401
    assert gc.isenabled()


def test_a_collector_that_was_off_stays_off() -> None:
    gc.disable()
    with quick_imports():
        pass
    assert not gc.isenabled()
