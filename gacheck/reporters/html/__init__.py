"""One HTML page that needs nothing besides itself. jinja2 and matplotlib are loaded when it is made."""

from __future__ import annotations

from gacheck.reporters.reporter import SURVEYS, TRAININGS, Reporter
from gacheck.words.analysis import Analysis
from gacheck.words.survey import SurveyAnalysis


def render_html(analysis: Analysis) -> bytes:
    """Render the page; the same analysis gives the same bytes.

    Raises:
        ImportError: matplotlib cannot be imported.
    """
    from gacheck.reporters.html.page import render_page

    return render_page(analysis).encode()


def render_survey_html(analysis: SurveyAnalysis) -> bytes:
    """Render the page of a survey; the same analysis gives the same bytes."""
    from gacheck.reporters.html.survey_page import render_survey_page

    return render_survey_page(analysis).encode()


REPORTERS = (
    Reporter("html", ".html", False, TRAININGS, lambda analysis, view: render_html(analysis)),
    Reporter("html", ".html", False, SURVEYS, lambda analysis, view: render_survey_html(analysis)),
)
