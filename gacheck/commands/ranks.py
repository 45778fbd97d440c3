"""Which of the processes of a run this is, as torchrun and accelerate launch tell it: the first speaks for all."""

from __future__ import annotations

import os
import sys
import time
from typing import NoReturn

# So long the first may take to say what all have to say; the launcher ends the others once one has ended badly.
PATIENCE_SECONDS = 5.0


def _number(name: str, default: int) -> int:
    value = os.environ.get(name, "")
    return int(value) if value.isdecimal() else default


def num_started() -> int:
    """Return how many processes were started together."""
    return _number("WORLD_SIZE", 1)


def rank() -> int:
    """Return the number of this one among them."""
    return _number("RANK", 0) if num_started() > 1 else 0


def is_first() -> bool:
    """Whether this one keeps the record and speaks."""
    return rank() == 0


def leave(code: int) -> NoReturn:
    """End the process; one of several past the interpreter's own end.

    A thread of gloo's frees the tensors of the last collective, for which it needs the interpreter's lock: where the
    process ends before, it aborts or waits for ever (https://github.com/pytorch/pytorch/pull/179291).
    """
    if num_started() == 1:
        sys.exit(code)
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    os._exit(code)


def let_the_first_speak() -> None:
    """Wait before an error is shown that may be that of all processes."""
    if not is_first():
        time.sleep(PATIENCE_SECONDS)
