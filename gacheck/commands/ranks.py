"""Which of the processes of a run this is, as torchrun and accelerate launch tell it: the first speaks for all."""

from __future__ import annotations

import os
import time

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


def let_the_first_speak() -> None:
    """Wait before an error is shown that may be that of all processes."""
    if not is_first():
        time.sleep(PATIENCE_SECONDS)
