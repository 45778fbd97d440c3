"""Why a class gives no loss, where that is no fault of its rows: what its forward says itself, or gets wrong."""

from __future__ import annotations

import inspect
import re
import traceback
from typing import Any

_LOSS = re.compile(r"^\s+loss = (.+)$", re.MULTILINE)
_REFUSED = re.compile(r"if labels is not None:\s+raise \w+\(\s*[\"']([^\"']+)")
_CALLED_WRONGLY = re.compile(r"(\w+)\(\) missing \d+ required [\w-]+ arguments?")


def why_untrained(model_class: type) -> str | None:
    """Return what the source of a forward says of why it gives no loss; None where it says nothing."""
    forward: Any = getattr(model_class, "forward", None)
    try:
        source = inspect.getsource(inspect.unwrap(forward))
    except (OSError, TypeError):
        return None
    refused = _REFUSED.search(source)
    if refused is not None:
        return refused[1]
    losses = _LOSS.findall(source)
    is_none = losses and all(value.endswith("None") for value in losses)
    return "its forward sets the loss to None, whatever it is given" if is_none else None


def is_own_fault(error: BaseException) -> bool:
    """Whether a forward calls something of its own wrongly: no rows could change that."""
    return isinstance(error, TypeError) and _CALLED_WRONGLY.match(str(error)) is not None


def progress(error: BaseException) -> tuple[int, ...]:
    """Return how far code came before it raised an error: what was raised further on compares as more."""
    return tuple(frame.lineno or 0 for frame in traceback.extract_tb(error.__traceback__))
