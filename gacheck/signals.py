"""Signals that ask a program to end do so as Ctrl-C does: what is open is closed, and what is kept is said."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

NAMES = ("SIGTERM", "SIGHUP")
"""Ask to end: a scheduler, `kill`, a terminal that is closed. The second is unknown to Windows."""

SECONDS = 0.05
"""Until a signal is sent once more; by then whatever swallowed it is over."""


GRACE_SECONDS = 10.0
"""After which a process that was asked to end, and waits in native code where nothing can be raised, is ended."""


class Stopped(KeyboardInterrupt):
    """The process was asked to end.

    Attributes:
        number: The signal's.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


@contextmanager
def as_interrupts() -> Iterator[None]:
    """Within the block, raise `Stopped` where such a signal would have ended the process at once.

    Who ignores one, as `nohup` does, or handles it, is left alone; so is a thread that can handle none.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [getattr(signal, name) for name in NAMES if hasattr(signal, name)]
    ending = [number for number in numbers if signal.getsignal(number) is signal.SIG_DFL]
    for number in ending:
        signal.signal(number, _stop)
    hook = sys.unraisablehook

    def again(ignored: sys.UnraisableHookArgs) -> None:
        """Send a signal once more that came where Python ignores what is raised, as while an object is deleted."""
        if isinstance(ignored.exc_value, KeyboardInterrupt):
            number = getattr(ignored.exc_value, "number", signal.SIGINT)
            threading.Timer(SECONDS, os.kill, (os.getpid(), number)).start()
        else:
            hook(ignored)

    sys.unraisablehook = again
    try:
        with _ended_after_all(frozenset(ending)):
            yield
    finally:
        sys.unraisablehook = hook
        for number in ending:
            signal.signal(number, signal.SIG_DFL)


@contextmanager
def _ended_after_all(numbers: frozenset[int]) -> Iterator[None]:
    """Within the block, end the process some time after such a signal, where the main thread does not come to it."""
    hears, tells = socket.socketpair()
    tells.setblocking(False)
    over = threading.Event()

    def listen() -> None:
        while told := hears.recv(1):
            # Another handler, as of a program that starts others, has its own way to end.
            ends = told[0] in numbers and signal.getsignal(told[0]) is _stop
            if ends and not over.wait(GRACE_SECONDS):
                os._exit(128 + told[0])

    before = signal.set_wakeup_fd(tells.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=listen, name="gacheck-signals", daemon=True).start()
    try:
        yield
    finally:
        over.set()
        signal.set_wakeup_fd(before)
        tells.close()


def _stop(number: int, frame: FrameType | None) -> None:
    raise Stopped(number)
