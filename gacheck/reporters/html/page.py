"""Puts the page together. Imports jinja2: imported when a page is made."""

from __future__ import annotations

import base64
import hashlib
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined

from gacheck.core.arithmetic import step_arithmetic
from gacheck.reporters.command import repeat_line
from gacheck.reporters.grid import num_passes
from gacheck.reporters.html.arithmetic import arithmetic_table
from gacheck.reporters.html.pictures import pictures
from gacheck.reporters.html.tables import codes_by_flag, first_step_table, gradient_table, remarks, steps_table
from gacheck.reporters.html.verdict import advice, fix_lines, head, lead, remedies
from gacheck.reporters.reproduce import environment_facts, main_facts
from gacheck.reporters.text import clean, shorten
from gacheck.words.analysis import Analysis

# More than any text of ours takes; an error message that it quotes may have no end.
TEXT_COLUMNS = 500


def render_page(analysis: Analysis) -> str:
    """Render the page."""
    record, words = analysis.record, analysis.verdict.words
    judged = next((f for f in analysis.findings if f.flag is analysis.flag.auto), None)
    worked = step_arithmetic(judged, analysis.verdict.code) if judged is not None else None
    done, planned = num_passes(analysis)
    style = _style()
    return (
        _environment()
        .get_template("page.html")
        .render(
            style=style,
            style_hash=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
            analysis=analysis,
            record=record,
            model=record.model,
            verdict=analysis.verdict,
            words=words,
            head=head(analysis.verdict),
            lead=lead(analysis.verdict),
            advice=advice(analysis.verdict),
            main_facts=main_facts(analysis),
            done=done,
            planned=planned,
            fix_lines=fix_lines(words),
            remedies=remedies(words),
            pictures=pictures(analysis),
            first_step=first_step_table(analysis) if analysis.attached is None else None,
            steps=steps_table(analysis) if analysis.attached is not None else None,
            remarks=remarks(analysis),
            gradients=gradient_table(analysis),
            arithmetic=arithmetic_table(worked) if worked is not None else None,
            codes_by_flag=codes_by_flag(analysis),
            facts=environment_facts(analysis),
            command=repeat_line(record)[1],
        )
    )


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("gacheck.reporters.html"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


@cache
def _style() -> str:
    environment = _environment()
    assert environment.loader is not None
    return environment.loader.get_source(environment, "style.css")[0]


def _shown(value: object) -> object:
    """Make whatever a template shows harmless text; what is markup already was made of such, or is ours alone."""
    if isinstance(value, str) and not hasattr(value, "__html__"):
        return shorten(clean(value), TEXT_COLUMNS)
    return value
