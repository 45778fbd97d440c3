"""Why something failed or could not be seen, without the names of exceptions."""

from __future__ import annotations

import re

from gacheck.core.figures import PassFigures

_CLASS = re.compile(r"^(?:\w+\.)*\w*(?:Error|Exception|Interrupt|Exit|Warning|StopIteration|Timeout): *")
_MEMORY = re.compile(
    r"out of memory|allocate memory|not enough memory|\bMemoryError\b|OutOfMemoryError|_ALLOC_FAILED", re.IGNORECASE
)


def is_of_memory(reason: str) -> bool:
    """Whether it was memory that gave out: the one place where that is told, by an error's class and message."""
    return _MEMORY.search(reason) is not None


OF_TIME = "PassTimeout"
"""The class of what is raised at the time limit of a pass."""
OVERDUE = "it had not ended after {:g} s, the limit of --pass-timeout"


def is_of_time(kind: str) -> bool:
    """Whether it was the time limit of a pass, by the class of what was raised."""
    return kind == OF_TIME


def is_of_user_code(kind: str, message: str) -> bool:
    """Whether code of the user's own failed by itself, by what is recorded of its exception."""
    said = (f" raised {kind}: ", f" raised {kind} ", " called ")
    return not is_of_time(kind) and any(each in message for each in said)


def in_own_words(reason: str) -> str:
    """Leave out the class of an exception in front of its message."""
    message = _CLASS.sub("", reason).strip().rstrip(".")
    if is_of_memory(reason):
        return "the memory did not suffice"
    # An error without a message is told by its class alone.
    is_bare = not message or re.fullmatch(r"\w*(?:Error|Exception|Interrupt|Exit)", message) is not None
    return "it failed without a message" if is_bare else message


def why_it_failed(figures: PassFigures) -> str:
    """Say what a pass came to."""
    reason = in_own_words(figures.error or "")
    return "ran out of memory" if reason == "the memory did not suffice" else f"did not come to its end: {reason}"
