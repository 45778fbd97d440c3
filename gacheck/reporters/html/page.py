"""Puts the page of a training together: imported when one is made, with jinja2."""

from __future__ import annotations

from gacheck.core.arithmetic import step_arithmetic
from gacheck.reporters.command import repeat_line
from gacheck.reporters.grid import num_passes
from gacheck.reporters.html.arithmetic import arithmetic_table
from gacheck.reporters.html.pictures import pictures
from gacheck.reporters.html.tables import codes_by_flag, first_step_table, gradient_table, remarks, steps_table
from gacheck.reporters.html.templating import fill
from gacheck.reporters.html.verdict import advice, fix_lines, head, lead, remedies
from gacheck.reporters.reproduce import environment_facts, main_facts
from gacheck.words.analysis import Analysis


def render_page(analysis: Analysis) -> str:
    """Render the page."""
    record, words = analysis.record, analysis.verdict.words
    judged = next((f for f in analysis.findings if f.flag is analysis.flag.auto), None)
    worked = step_arithmetic(judged, analysis.verdict.code) if judged is not None else None
    done, planned = num_passes(analysis)
    return fill(
        "page.html",
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
