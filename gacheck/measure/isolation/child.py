"""A process that answers one question after the other, until it ends: however it does, that is told.

Pebble's pool, which the survey has, takes a worker that exits with code 0 for one that is done, and waits for ever.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from typing import Any

from gacheck.measure.isolation.processes import forkserver_of, how_it_ended
from gacheck.words.reasons import OVERDUE

WORKER = "gacheck.measure.isolation.worker"
STEP = "a step is done"
"""What the process says while it works on an answer."""
PATIENCE_SECONDS = 5.0
"""For a process that was asked to end."""


class Lost(Exception):
    """The process ended without an answer, or took too long; the message says how."""


class TookTooLong(Lost):
    """It was ended, since it took too long."""


class Child:
    """A process that was forked from the server that has loaded torch and transformers.

    Args:
        serve: What it does: answers what comes through the connection.
        memory: Bytes that it may have beyond what the libraries take; None: as much as it gets.
    """

    def __init__(self, serve: Callable[[Connection, int | None], None], memory: int | None) -> None:
        context = forkserver_of(WORKER)
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs, memory))
        self._process.start()
        theirs.close()

    def ask(self, question: object, step_done: Callable[[], None], seconds: float | None) -> Any:
        """Return the answer.

        Args:
            question: Whatever can be pickled.
            step_done: Called whenever the process says so.
            seconds: That it may take; None: as long as it takes.

        Raises:
            Lost: There is none; the process has ended.
        """
        until = None if seconds is None else time.monotonic() + seconds
        try:
            self._connection.send(question)
            while True:
                answer = self._heard(until, seconds)
                if answer != STEP:
                    return answer
                step_done()
        except (EOFError, OSError):
            self._process.join(PATIENCE_SECONDS)
            raise Lost(how_it_ended(self._process.exitcode)) from None

    def _heard(self, until: float | None, seconds: float | None) -> Any:
        left = None if until is None else max(0.0, until - time.monotonic())
        if not wait([self._connection, self._process.sentinel], left):
            self.end()
            raise TookTooLong(OVERDUE.format(seconds or 0))
        # What it said before it ended is still to be read; then comes the end of the file.
        return self._connection.recv()

    def end(self) -> None:
        """End the process, whatever it is doing."""
        self._process.terminate()
        self._process.join(PATIENCE_SECONDS)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._connection.close()
