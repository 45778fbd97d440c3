"""What a reporter is: an analysis → bytes, under a name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

MAX_WIDTH = 80
MIN_WIDTH = 40


@dataclass(frozen=True)
class View:
    """Where a text is to be read.

    Attributes:
        width: Columns; no text takes more than 80.
        color: Whether colours may be used.
        ascii: Whether nothing but ASCII may be.
        saved: What to say of where the record lies; nothing is said without it.
        verbose: Whether all that was measured is to be shown, also where all is well.
    """

    width: int = MAX_WIDTH
    color: bool = False
    ascii: bool = False
    saved: str | None = None
    verbose: bool = False

    @property
    def columns(self) -> int:
        """Columns that are used."""
        return min(MAX_WIDTH, max(MIN_WIDTH, self.width))


PAGE = View()
"""As wide as a text gets, without colour."""

# Of the analysis of a record of its kinds.
Render = Callable[[Any, View], bytes]


@dataclass(frozen=True)
class Reporter:
    """One format.

    Attributes:
        name: Of the format, as `--format` takes it.
        suffix: Of files in it.
        binary: Whether it is no text, and so not for a terminal.
        kinds: The kinds of record that it shows.
        render: Makes it. A format that is not read on a screen has no use for the view.
    """

    name: str
    suffix: str
    binary: bool
    kinds: frozenset[str]
    render: Render


TRAININGS = frozenset({"run", "attach"})
"""The kinds of record that hold passes."""

SURVEYS = frozenset({"survey"})

COMPARISONS = frozenset({"comparison"})
"""What `gacheck compare` shows: two records of one kind."""
