"""Puts the page of a survey together: imported when one is made, with jinja2."""

from __future__ import annotations

from collections import Counter

from gacheck.reporters.html.survey_tables import legend, map_of, sections
from gacheck.reporters.html.templating import fill
from gacheck.words.survey import SurveyAnalysis
from gacheck.words.surveyed import listed, releases_of


def render_survey_page(analysis: SurveyAnalysis) -> str:
    """Render the page."""
    record = analysis.record
    releases = releases_of(analysis)
    newest = analysis.of(releases[-1]) if releases else ()
    counts = Counter(row.severity for row in newest)
    return fill(
        "survey.html",
        "survey.css",
        record=record,
        releases=releases,
        under=listed(releases),
        newest=releases[-1] if releases else None,
        num_classes=len(newest),
        num_wrong=counts["fail"],
        num_warned=counts["warn"],
        ks=sorted({row.accumulation_steps for row in analysis.rows if row.accumulation_steps}),
        map=map_of(analysis),
        legend=legend(analysis),
        sections=sections(analysis),
    )
