"""One HTML page that needs nothing besides itself. jinja2 and matplotlib are loaded when it is made."""

from __future__ import annotations

from gacheck.reporters.reporter import TRAININGS, Reporter
from gacheck.words.analysis import Analysis


def render_html(analysis: Analysis) -> bytes:
    """Render the page; the same analysis gives the same bytes.

    Raises:
        ImportError: matplotlib cannot be imported.
    """
    from gacheck.reporters.html.page import render_page

    return render_page(analysis).encode()


REPORTERS = (Reporter("html", ".html", False, TRAININGS, lambda analysis, view: render_html(analysis)),)
