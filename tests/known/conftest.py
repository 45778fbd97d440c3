"""Most of the time of a small training would go to collecting the garbage of everything that is imported."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

pytest.register_assert_rewrite("tests.known.judging")


@pytest.fixture(scope="package", autouse=True)
def _imports_are_no_garbage() -> Iterator[None]:
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
