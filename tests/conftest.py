"""What holds for every test: no hub, and one thread a process; and what several ask for."""

import os
import sys
from collections.abc import Iterator

import pytest

# No test asks the real hub; those that need one make their own.
os.environ["HF_HUB_OFFLINE"] = "1"
# The models are tiny, and tests run beside each other: threads of torch would only wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def _own_modules_forgotten(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Forget after a test what it wrote and imported: another test may write a module of the same name."""
    before = set(sys.modules)
    yield
    folder = str(tmp_path_factory.getbasetemp())
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None)).startswith(folder):
            del sys.modules[name]


@pytest.fixture
def no_traces() -> Iterator[None]:
    """Reset accelerate and the environment after a test: a bare Trainer leaves its precision there for the next."""
    from torch.nn import Identity

    from gacheck.measure.passes.snapshot import Snapshot

    snapshot = Snapshot(Identity())
    yield
    snapshot.remove_traces()
