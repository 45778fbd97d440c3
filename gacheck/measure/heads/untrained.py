"""Why a class gives no loss, where that is no fault of its rows: what its forward says itself, or gets wrong."""

from __future__ import annotations

import inspect
import re
import traceback
from typing import Any

_LOSS = re.compile(r"^\s+loss = (.+)$", re.MULTILINE)
_REFUSED = re.compile(
    r"if (?:\w*labels is not None(?: or )?)+:\s+raise \w+\(\s*((?:([\"'])(?:(?!\2).)*\2\s*)+)\)", re.DOTALL
)
_QUOTED = re.compile(r"([\"'])((?:(?!\1).)*)\1")
_ANSWER = re.compile(r"return \w*Output\w*\((?!.*\*\*)", re.DOTALL)
_NO_FIELD = re.compile(r"'\w*Output\w*' object has no attribute '\w+'")
_CALLED_WRONGLY = re.compile(r"(\w+)\(\) missing \d+ required [\w-]+ arguments?")


def why_untrained(model_class: type) -> str | None:
    """Return what the source of a forward says of why it gives no loss; None where it says nothing."""
    source = _source_of_forward(model_class)
    refused = _refusal(source)
    if refused is not None:
        return refused
    losses = _LOSS.findall(source)
    if losses and all(value.endswith("None") for value in losses):
        return "its forward sets the loss to None, whatever it is given"
    computes_none = "loss" not in source and _ANSWER.search(source) is not None
    return "its forward computes no loss, whatever it is given" if computes_none else None


def refuses_labels(model_class: type) -> str | None:
    """Return what a forward says to any labels, where it raises with every one; no model need be built for that."""
    return _refusal(_source_of_forward(model_class))


def _source_of_forward(model_class: type) -> str:
    forward: Any = getattr(model_class, "forward", None)
    try:
        return inspect.getsource(inspect.unwrap(forward))
    except (OSError, TypeError):
        return ""


def _refusal(source: str) -> str | None:
    found = _REFUSED.search(source)
    return None if found is None else "".join(text for _, text in _QUOTED.findall(found[1]))


def is_own_fault(error: BaseException) -> bool:
    """Whether a forward calls code of its own wrongly, or reads what an output has not: no rows change that."""
    told = str(error)
    if isinstance(error, AttributeError):
        return _NO_FIELD.fullmatch(told) is not None
    return isinstance(error, TypeError) and _CALLED_WRONGLY.match(told) is not None


def progress(error: BaseException) -> tuple[int, ...]:
    """Return how far code came before it raised an error: what was raised further on compares as more."""
    return tuple(frame.lineno or 0 for frame in traceback.extract_tb(error.__traceback__))
