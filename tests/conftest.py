"""What holds for every test: no hub, and one thread a process; and what several ask for."""

import os
from collections.abc import Iterator

import pytest

# No test asks the real hub; those that need one make their own.
os.environ["HF_HUB_OFFLINE"] = "1"
# The models are tiny, and tests run beside each other: threads of torch would only wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture
def no_traces() -> Iterator[None]:
    """Reset accelerate and the environment after a test: a bare Trainer leaves its precision there for the next."""
    from torch.nn import Identity

    from gacheck.measure.passes.snapshot import Snapshot

    snapshot = Snapshot(Identity())
    yield
    snapshot.remove_traces()
