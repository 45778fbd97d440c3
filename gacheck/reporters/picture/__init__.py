"""The picture: loss against k, and loss over steps. matplotlib, which takes a second, is loaded when it is drawn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

from gacheck.reporters.reporter import TRAININGS, Reporter
from gacheck.rules.facts import Flag
from gacheck.words.analysis import Analysis

if TYPE_CHECKING:
    from gacheck.reporters.picture.drawing.palette import Scheme


def render_picture(analysis: Analysis, format: Literal["png", "svg"] = "png") -> bytes:
    """Draw the picture; the same analysis gives the same bytes.

    Raises:
        ImportError: matplotlib cannot be imported.
    """
    with _import_errors():
        from gacheck.reporters.picture.drawing import draw
    return draw(analysis, format)


def render_panel(analysis: Analysis, flag: Flag | None) -> dict[Scheme, bytes]:
    """Draw a part of the picture as SVG, for light and for dark pages.

    Args:
        flag: Losses over steps at one value of it; None: losses against k.

    Raises:
        ImportError: matplotlib cannot be imported.
    """
    with _import_errors():
        from gacheck.reporters.picture.drawing import draw_panel
    return draw_panel(analysis, flag)


@contextmanager
def _import_errors() -> Iterator[None]:
    try:
        yield
    except ImportError:
        raise
    except Exception as error:  # a matplotlib built for another numpy raises whatever it likes
        raise ImportError(f"{type(error).__name__}: {error}", name="matplotlib") from error


REPORTERS = (
    Reporter("png", ".png", True, TRAININGS, lambda analysis, view: render_picture(analysis, "png")),
    Reporter("svg", ".svg", False, TRAININGS, lambda analysis, view: render_picture(analysis, "svg")),
)
