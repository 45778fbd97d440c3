"""The picture of a run; matplotlib is loaded when one is drawn, for it alone takes a second."""

from __future__ import annotations

from typing import Literal

from gacheck.errors import ResourceError
from gacheck.words.analysis import Analysis


def draw(analysis: Analysis, format: Literal["png", "svg"] = "png", *, without: str, later: str) -> bytes:
    """Draw the picture.

    Args:
        without: What there is although there is no picture, for the error.
        later: The command that draws it later, for the error.

    Raises:
        ResourceError: matplotlib is missing or broken.
    """
    try:
        from gacheck.reporters.picture import render_picture
    except Exception as error:  # a matplotlib built for another numpy raises whatever it likes
        if isinstance(error, ImportError) and (error.name or "").startswith("gacheck"):
            raise
        raise ResourceError(
            f"matplotlib cannot be imported: {type(error).__name__}: {error}.",
            why=f"The picture cannot be drawn. {without}",
            fix=f"pip install -U matplotlib, then  {later}",
        ) from error
    return render_picture(analysis, format)
