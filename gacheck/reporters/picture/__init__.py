"""The picture: loss against k, and loss over steps. matplotlib, which takes a second, is loaded when it is drawn."""

from __future__ import annotations

from typing import Literal

from gacheck.reporters.reporter import TRAININGS, Reporter
from gacheck.words.analysis import Analysis


def render_picture(analysis: Analysis, format: Literal["png", "svg"] = "png") -> bytes:
    """Draw the picture; the same analysis gives the same bytes.

    Raises:
        ImportError: matplotlib cannot be imported.
    """
    try:
        from gacheck.reporters.picture.drawing import draw
    except ImportError:
        raise
    except Exception as error:  # a matplotlib built for another numpy raises whatever it likes
        raise ImportError(f"{type(error).__name__}: {error}", name="matplotlib") from error
    return draw(analysis, format)


REPORTERS = (
    Reporter("png", ".png", True, TRAININGS, lambda analysis, view: render_picture(analysis, "png")),
    Reporter("svg", ".svg", False, TRAININGS, lambda analysis, view: render_picture(analysis, "svg")),
)
