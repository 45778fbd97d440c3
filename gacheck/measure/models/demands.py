"""What a class demands of a config whose own default is not enough for it: its error says what, or where it was raised.

Some heads need what other heads of their type do not: a switch that is off by default, more layers to read from.
"""

from __future__ import annotations

import linecache
import re
import traceback
from collections.abc import Iterator
from typing import Any

from gacheck.measure.models.parts import all_configs

_FEWEST = 1
"""Of what a config counts as less than none."""

_LISTED = re.compile(r"(?:config\.|`)(\w*indices)`? (?:to be|be) a list of (?:exactly )?(\d+)")
_SET_BY = re.compile(r"\bset_(\w+)\(\)")
_SWITCHED = re.compile(r" if (?:self\.)?config\.(\w+) else None")


def give_demanded(config: Any, error: BaseException) -> bool:
    """Set what an error demands of a config, or of one within it, in place; return whether there was anything."""
    parts = list(all_configs(config))
    return any(give(part, error) for give in (_layers, _switch, _number, _choice) for part in parts)


def raising_lines(error: BaseException) -> Iterator[str]:
    """Walk through the lines that raised an error, innermost first, with what their attributes were set to."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        first, last = frame.lineno or 1, getattr(frame, "end_lineno", None) or frame.lineno or 1
        lines = linecache.getlines(frame.filename)
        line, before = " ".join(lines[first - 1 : last]), "".join(lines[: first - 1])
        set_to = (re.findall(rf"self\.{name} = (.+)", before)[-1:] for name in re.findall(r"self\.(\w+)", line))
        yield " ".join([line, *(each for found in set_to for each in found)])


def _layers(config: Any, error: BaseException) -> bool:
    """Name as many layers to read from as are asked for, the last among them."""
    found, depth = _LISTED.search(str(error)), getattr(config, "num_hidden_layers", None)
    if found is None or not hasattr(config, found[1]) or not isinstance(depth, int) or depth < int(found[2]):
        return False
    number = int(found[2])
    wanted = [depth * place // number for place in range(1, number + 1)]
    if list(getattr(config, found[1]) or ()) == wanted:
        return False
    setattr(config, found[1], wanted)
    return True


def _switch(config: Any, error: BaseException) -> bool:
    """Switch on what makes the part that was None."""
    if not isinstance(error, (AttributeError, TypeError)) or "NoneType" not in str(error):
        return False
    names = _SWITCHED.findall(next(raising_lines(error), ""))
    off = [name for name in names if vars(config).get(name) is False]
    for name in off:
        setattr(config, name, True)
    return bool(off)


def _number(config: Any, error: BaseException) -> bool:
    """Count what is -1 by default, where it makes a size less than zero."""
    if "negative dimension" not in str(error):
        return False
    words = {word for line in raising_lines(error) for word in re.findall(r"\w+", line)}
    below = [n for n, v in vars(config).items() if n in words and isinstance(v, int) and v == -1]
    for name in below:
        setattr(config, name, _FEWEST)
    return bool(below)


def _choice(config: Any, error: BaseException) -> bool:
    """Choose the first of those that a config lists, where a method is to be called that does: `set_default_kind()`."""
    found = _SET_BY.search(str(error))
    name = found[1] if found is not None else ""
    known = getattr(config, name.rpartition("_")[2] + "s", None)
    if getattr(config, name, "") is not None or not isinstance(known, (list, tuple)) or not known:
        return False
    setattr(config, name, known[0])
    return True
