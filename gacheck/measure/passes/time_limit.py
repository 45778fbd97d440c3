"""Ends a pass that takes too long: by raising in it, and where it does not heed that, by ending the run."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
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
        overdue: Called, in a thread beside the pass, with its name and the time, where it was interrupted in vain.
    """

    seconds: float | None = None
    overdue: Callable[[str, float], None] = lambda name, seconds: None

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """Within the block, which is the pass of that name, raise `PassTimeout` once the time is over."""
        if self.seconds is None:
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
