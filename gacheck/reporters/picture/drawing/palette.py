"""The colours of the pictures, for light and for dark pages.

Flag on and off differ in colour, line and marker, so that neither print nor colour-blindness takes one away.
"""

from __future__ import annotations

import re
from dataclasses import astuple, dataclass
from typing import Any, Literal

from gacheck.rules.facts import Flag

Scheme = Literal["light", "dark"]


@dataclass(frozen=True)
class Palette:
    """What is drawn in which colour.

    Attributes:
        paper: The background.
        ink: Titles, axes and their labels.
        muted: Notes.
        grid: Lines of the grid.
        right: The right answer.
        on: What was measured with the flag on.
        off: The same with the flag off.
    """

    paper: str
    ink: str
    muted: str
    grid: str
    right: str
    on: str
    off: str

    def of(self, flag: Flag) -> str:
        """Return the colour of a value of the flag."""
        return self.on if flag.is_on else self.off

    @property
    def style(self) -> dict[Any, Any]:
        """The same as matplotlib's settings."""
        return {
            "figure.facecolor": self.paper,
            "axes.facecolor": self.paper,
            "savefig.facecolor": self.paper,
            "text.color": self.ink,
            "axes.labelcolor": self.ink,
            "axes.edgecolor": self.ink,
            "xtick.color": self.ink,
            "ytick.color": self.ink,
            "grid.color": self.grid,
        }


# After Okabe and Ito, whose colours all eyes tell apart; the vermilion is darker, so that its numbers are legible.
PALETTES: dict[Scheme, Palette] = {
    "light": Palette(
        paper="#ffffff", ink="#1b1f24", muted="#57606a", grid="#e4e6e9", right="#959ba3", on="#0069a6", off="#bf4e00"
    ),
    "dark": Palette(
        paper="#14181d", ink="#e6e9ec", muted="#a5adb6", grid="#2c333b", right="#7b838d", on="#62bdf0", off="#f0a030"
    ),
}


def recoloured(svg: bytes, palette: Palette, other: Palette) -> bytes:
    """Exchange every colour of a picture for its counterpart."""
    exchanged = {a.encode(): b.encode() for a, b in zip(astuple(palette), astuple(other), strict=True)}
    return re.sub(b"#[0-9a-f]{6}", lambda found: exchanged.get(found[0], found[0]), svg)
