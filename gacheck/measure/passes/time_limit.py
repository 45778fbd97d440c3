"""Ends a pass that takes too long: by raising in it, and where it does not heed that, by ending the run."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

from gacheck.words.reasons import OVERDUE

# Until a pass that was interrupted must have ended: what runs in native code returns to Python by then, or hangs there.
GRACE_SECONDS = 10.0


class PassTimeout(BaseException):
    """A pass takes too long; no `Exception`, since a training may catch those and go on."""


@dataclass(frozen=True)
class TimeLimit:
    """How long a pass may take.

    Attributes:
        seconds: The time; None for no limit.
        overdue: Called, in a thread beside the pass, with its name and the time, where it was interrupted in vain, or
            came no further.
        of_a_step: Where the pass has no limit, that of each of its steps: seconds, or None for none.
    """

    seconds: float | None = None
    overdue: Callable[[str, float], None] = lambda name, seconds: None
    of_a_step: float | None = None
    _moved: list[float] = field(default_factory=list)

    def moved(self) -> None:
        """Note that a step is done."""
        self._moved[:] = [time.monotonic()]

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """Within the block, which is the pass of that name, raise `PassTimeout` once the time is over."""
        if self.seconds is None:
            with self._watched(name):
                yield
            return
        last = threading.Timer(self.seconds + GRACE_SECONDS, self.overdue, (name, self.seconds))
        last.daemon = True
        last.start()
        try:
            with _interrupted_after(self.seconds):
                yield
        finally:
            last.cancel()

    @contextmanager
    def _watched(self, name: str) -> Iterator[None]:
        limit, over = self.of_a_step, threading.Event()
        if limit is None:
            yield
            return
        self.moved()

        def watch() -> None:
            while not over.wait(min(1.0, limit)):
                if time.monotonic() - self._moved[0] > limit:
                    self.overdue(name, limit)
                    return

        threading.Thread(target=watch, name="gacheck-steps", daemon=True).start()
        try:
            yield
        finally:
            over.set()


@contextmanager
def _interrupted_after(seconds: float) -> Iterator[None]:
    """Raise in this thread after so long, if it is the one that signals reach, and the system has such a signal."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise PassTimeout(OVERDUE.format(seconds))

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
