"""What holds for the tests of the trials."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def _garbage_is_let_alone() -> Iterator[None]:
    """Trainers collect garbage, over all that the libraries hold: that takes longer than to train."""
    torch.set_num_threads(1)
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
