"""How the libraries that train are loaded."""

from __future__ import annotations

import gc
import sys
from contextlib import suppress
from types import ModuleType
from unittest.mock import Mock

import pytest

from gacheck.commands.measuring import loading
from gacheck.errors import PackageError


def test_imports_are_kept_from_the_garbage_collector_and_nothing_else_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where an import fails; and not once more in a process that goes on, whose garbage would stay."""
    monkeypatch.setattr(gc, "freeze", frozen := Mock())
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    with suppress(PackageError), loading():
        assert not gc.isenabled()
        raise ImportError
    assert gc.isenabled()
    assert frozen.call_count == 1

    monkeypatch.setitem(sys.modules, "torch", ModuleType("torch"))
    with loading():
        assert not gc.isenabled()
    assert gc.isenabled()
    assert frozen.call_count == 1
