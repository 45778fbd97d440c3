"""The processes of one training, and what they tell each other, without a collective call that could wait for ever.

The processes of a training that torch.distributed has joined share a key-value store. Each posts its facts there and
reads those of the others; one that is not watched is waited for once, for a short while.
"""

from __future__ import annotations

import itertools
import json
import time
from contextlib import suppress
from datetime import timedelta
from typing import Any, ClassVar

import torch.distributed

# Processes come to the end of an optimizer step together: none waits for long unless one is not watched at all.
PATIENCE = timedelta(seconds=5)

# After all have posted, each has but to say so.
PATIENCE_TO_THE_END = timedelta(seconds=60)
HEARD, GAVE_UP = "heard", "gave up"

# A wait in native code lets no signal through: none is longer than this.
SLICE = timedelta(seconds=1)


class World:
    """The processes of one training.

    Args:
        patience: How long an answer is waited for; by default as long as beside a training of somebody else's.

    Attributes:
        rank: Of this process; 0 speaks for all.
        size: How many there are.
        silent: The ranks that did not answer.
    """

    _numbers: ClassVar[Any] = itertools.count()
    _somebody_is_silent: ClassVar[bool] = False

    def __init__(self, patience: timedelta | None = None) -> None:
        joined = torch.distributed.is_available() and torch.distributed.is_initialized()
        self.rank = torch.distributed.get_rank() if joined else 0
        self.size = torch.distributed.get_world_size() if joined else 1
        self.silent: tuple[int, ...] = ()
        self._patience = patience or PATIENCE
        self._number: int | None = None
        self._num_exchanges = 0
        self._store: Any = _default_store() if self.size > 1 else None

    def exchange(self, facts: Any, patience: timedelta | None = None, about: str = "") -> list[Any] | None:
        """Post facts and return those of all processes, by rank; None in all where one of them does not answer.

        Args:
            facts: Anything that JSON can hold; floats may be infinite or NaN.
            patience: How long the answers to this are waited for; by default as to all.
            about: Of what, where a process may come to it that has left out others; said once in a training.
        """
        if self.size == 1:
            return [facts]
        # One that is not watched does not answer in the next training either: it is waited for once in all.
        if self._store is None or World._somebody_is_silent:
            return None
        if self._number is None:
            # By the first exchange, which all processes come to in the same order, whatever else each has made.
            self._number = next(World._numbers)
        if not about:
            self._num_exchanges += 1
        keys = [f"gacheck/{self._number}/{about or self._num_exchanges}/{rank}" for rank in range(self.size)]
        ends = [f"{key}/end" for key in keys]
        try:
            self._store.set(keys[self.rank], json.dumps(facts))
            self._wait(keys, patience or self._patience)
            self._store.set(ends[self.rank], HEARD)
            # Who has come so far is not lost: one that has given up says so, lest the others go on without it.
            self._wait(ends, PATIENCE_TO_THE_END)
            if all(self._store.get(end).decode() == HEARD for end in ends):
                return [json.loads(self._store.get(key)) for key in keys]
        except RuntimeError:  # the store's time-out and a lost connection alike
            with suppress(RuntimeError):
                self._store.set(ends[self.rank], GAVE_UP)
        World._somebody_is_silent = True
        self.silent = tuple(rank for rank, key in enumerate(keys) if not self._has(key))
        return None

    def _wait(self, keys: list[str], patience: timedelta) -> None:
        until = time.monotonic() + patience.total_seconds()
        while True:
            left = until - time.monotonic()
            try:
                self._store.wait(keys, min(SLICE, timedelta(seconds=max(left, 0.001))))
            except RuntimeError:
                if left <= SLICE.total_seconds() or self._store.check(keys):  # the second raises where it is lost
                    raise
            else:
                return

    def _has(self, key: str) -> bool:
        try:
            return bool(self._store.check([key]))
        except RuntimeError:  # nobody is known to have answered
            return False


def _default_store() -> Any:
    """Return the store of the training's own process group; torch hands it out under this name since 1.13."""
    find = getattr(torch.distributed.distributed_c10d, "_get_default_store", None)
    return find() if find is not None else None
