"""Lets one process of a run end all of them: beside its work each looks whether another cannot go on.

A process that waits for another in a collective call cannot be interrupted. So a thread looks, through a connection of
its own to the store that torch.distributed has joined by, and ends the process in the middle of what it does.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from types import FrameType
from typing import Any, Protocol

import torch.distributed

from gacheck.errors import GacheckError, ResourceError, UserCodeError, one_line

GiveUp = Callable[[GacheckError], None]
"""Says an error and ends the process, in whatever thread it is called."""

INTERVAL_SECONDS = 0.5
# The first says for all why; who has not heard that it did says so itself.
PATIENCE_WITH_THE_FIRST_SECONDS = 5.0
# Who hangs is to say so before those that wait for it.
PATIENCE_WITH_WHO_HANGS_SECONDS = 3.0

_END, _SAID = "gacheck/end", "gacheck/end/said"
_CLASSES = {each.exit_code: each for each in (UserCodeError, ResourceError)}


class Store(Protocol):
    """What is asked of torch's key-value store."""

    def get(self, key: str) -> bytes: ...
    def compare_set(self, key: str, expected: str, desired: str) -> object: ...
    def check(self, keys: list[str]) -> bool: ...


class Alarm:
    """What one process hears of the end of the others.

    Args:
        rank: Of this process; 0 speaks for all.
        size: How many there are.
        give_up: Says an error and ends this process.
        store: By which the others hear; by default that which torchrun or accelerate launch tells of.
        leave: Ends this process without a word.
    """

    def __init__(
        self,
        rank: int,
        size: int,
        give_up: GiveUp,
        store: Store | None = None,
        leave: Callable[[int], object] = os._exit,
    ) -> None:
        self._leave = leave
        self._rank, self._size, self._give_up = rank, size, give_up
        self._store = store or (_connect() if size > 1 else None)
        self._lock = threading.Lock()
        self._speaks_itself = False
        if self._store is not None:
            threading.Thread(target=self._listen, name="gacheck-alarm", daemon=True).start()

    def end_all(self, error: GacheckError) -> None:
        """Tell all processes to end, for the first to say why; return in the first, and where none is heard of."""
        self._speaks_itself = True
        told = {"what": error.what, "why": error.why, "fix": error.fix, "code": error.exit_code}
        if not self._tell(_END, json.dumps(told)) or self._rank == 0:
            return
        until = time.monotonic() + PATIENCE_WITH_THE_FIRST_SECONDS
        while time.monotonic() < until:
            if self._hears(_SAID):
                self._leave(error.exit_code)
                return
            time.sleep(INTERVAL_SECONDS)

    def overdue(self, what: str, seconds: float) -> None:
        """Name the process that hangs, where a pass should long have ended: called beside it, in every process.

        Args:
            what: The pass.
            seconds: That it should have taken at most.
        """
        place, waits = where_it_stands()
        self._tell(f"gacheck/overdue/{what}/{self._rank}", "yes")
        ranks, at = [self._rank], f"; it is at {place}"
        if waits and self._size > 1:
            time.sleep(PATIENCE_WITH_WHO_HANGS_SECONDS)
            silent = [r for r in range(self._size) if not self._hears(f"gacheck/overdue/{what}/{r}")]
            ranks, at = (silent, "") if silent else (ranks, at)
        error = hangs(what, seconds, f" in rank {', '.join(map(str, ranks))}" if self._size > 1 else "", at)
        self.end_all(error)
        self._give_up(error)

    def _listen(self) -> None:
        while not self._hears(_END):
            time.sleep(INTERVAL_SECONDS)
        told = json.loads(self._read(_END))
        error = _CLASSES.get(told.pop("code"), ResourceError)(**told)
        if self._rank != 0:
            time.sleep(PATIENCE_WITH_THE_FIRST_SECONDS)
            self._leave(error.exit_code)
            return
        self._tell(_SAID, "yes")
        if not self._speaks_itself:
            self._give_up(error)

    def _tell(self, key: str, value: str) -> bool:
        if self._store is None:
            return False
        try:
            with self._lock:
                # What was said first is what happened; the rest follows from it.
                self._store.compare_set(key, "", value)
        except RuntimeError:  # nobody keeps the store any more
            return False
        return True

    def _hears(self, key: str) -> bool:
        try:
            with self._lock:
                return self._store is not None and bool(self._store.check([key]))
        except RuntimeError:
            return False

    def _read(self, key: str) -> bytes:
        assert self._store is not None
        with self._lock:
            return self._store.get(key)


def hangs(what: str, seconds: float, where: str, at: str) -> GacheckError:
    """Say that a pass does not end, though it was interrupted."""
    return ResourceError(
        f"{what} has not ended{where}, and came no further within {seconds:g} s{at}.",
        why="What hangs there cannot be interrupted, so that the whole run had to be ended.",
        fix="look at what it does there, or allow more with --pass-timeout; what was measured before is kept, and the "
        "same command with --out and --resume goes on",
    )


def where_it_stands() -> tuple[str, bool]:
    """Return file:line at which the main thread is, and whether it waits there for other processes."""
    frame: FrameType | None = sys._current_frames().get(threading.main_thread().ident or 0)
    if frame is None:
        return "an unknown line", False
    file = frame.f_code.co_filename
    waits = f"{os.sep}torch{os.sep}" in file and any(part in file for part in ("distributed", "autograd"))
    return one_line(f"{file}:{frame.f_lineno}"), waits


def _connect() -> Any:
    """Return a connection of its own to the store of the processes; None where it cannot be had."""
    try:
        return torch.distributed.TCPStore(  # type: ignore[attr-defined]
            os.environ["MASTER_ADDR"],
            int(os.environ["MASTER_PORT"]),
            is_master=False,
            wait_for_workers=False,
            timeout=timedelta(seconds=30),
        )
    except (KeyError, ValueError, RuntimeError):
        return None
