"""Results as text, Markdown, JSON, CSV and picture. A reporter computes nothing and writes nothing.

A module of this package that has `REPORTERS` is found by that: a new format is a new module.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from gacheck.reporters.reporter import Reporter


@cache
def all_reporters() -> tuple[Reporter, ...]:
    """Return every reporter, the ones for reading first. None loads more than it needs to say what it is."""
    modules = [importlib.import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)]
    found = [each for module in modules for each in getattr(module, "REPORTERS", ())]
    return tuple(sorted(found, key=lambda each: (each.name != "terminal", each.name)))


def reporters(kind: str = "run") -> dict[str, Reporter]:
    """Return the reporters that show a kind of record, by name."""
    return {each.name: each for each in all_reporters() if kind in each.kinds}
