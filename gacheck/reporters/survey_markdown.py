"""A survey as Markdown: what is wrong, by verdict, with every class by name; then what is right, and what is open."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

from gacheck.reporters.command import shell_line
from gacheck.reporters.markdown import code as in_code
from gacheck.reporters.markdown import escape
from gacheck.reporters.reporter import SURVEYS, Reporter
from gacheck.reporters.text import clean, figure
from gacheck.rules.facts import Flag
from gacheck.rules.table import SEVERITY, gravest_first
from gacheck.words.survey import JudgedRow, SurveyAnalysis
from gacheck.words.surveyed import (
    NO_VERDICT,
    FaultGroup,
    command_of,
    fault_groups,
    listed,
    releases_of,
    right_groups,
    surveyed,
    unjudged_groups,
    wrong_with_flag_on,
)


def render_survey_markdown(analysis: SurveyAnalysis) -> str:
    """Render a survey in GitHub's Markdown, to paste."""
    releases = releases_of(analysis)
    under = f"transformers {listed(releases)}" if releases else "nothing"
    return "\n\n".join([f"### gacheck: a survey of {escape(under)}", *survey_blocks(analysis, "####")]) + "\n"


def survey_blocks(analysis: SurveyAnalysis, heading: str) -> Iterator[str]:
    """Yield the blocks of the text below its title.

    Args:
        analysis: The survey.
        heading: Of its sections, as so many #.
    """
    record = analysis.record
    if record.missing:
        yield f"**Incomplete: {len(record.missing)} of {len(record.items)} are not measured yet.**"
    yield counts_table(analysis)
    for code, groups in groupby(fault_groups(analysis), key=lambda group: group.code):
        yield f"{heading} {code}"
        why = ""
        for group in groups:
            # Said once of all groups that have it in common.
            if group.why and group.why != why:
                why = group.why
                yield escape(why)
            yield _group(group, analysis)
    yield from _with_flag_on(analysis, heading)
    yield from _right(analysis, heading)
    yield from _unjudged(analysis, heading)


def counts_table(analysis: SurveyAnalysis) -> str:
    """Lay out how many classes have which verdict under which release."""
    releases = releases_of(analysis)
    rows = [["verdict", *map(escape, releases)], ["---", *["---:"] * len(releases)]]
    found = {row.code for row in analysis.rows}
    for code in [*gravest_first(code for code in SEVERITY if code in found), *([None] if None in found else [])]:
        numbers = [sum(row.code == code for row in analysis.of(release)) for release in releases]
        rows.append([code or NO_VERDICT, *map(str, numbers)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _group(group: FaultGroup, analysis: SurveyAnalysis) -> str:
    number = f"{len(group.rows)} class{'es' if len(group.rows) > 1 else ''}"
    chosen = f"by default (the Trainer chooses the flag {group.flag})" if group.flag else "by default"
    lines = [f"**{group.severity.upper()} {chosen}**, {escape(group.task)}, {number}, {escape(group.since)}."]
    advice = group.advice
    fix = (
        f"{in_code(advice.code)} {escape(advice.place)}. {escape(advice.text)}" if advice.code else escape(advice.text)
    )
    lines += ["", f"What to do: {fix}"]
    if group.flag is Flag.OFF and group.other_code not in (None, group.code):
        lines[-1] += f" With `model_accepts_loss_kwargs = True` it would be {group.other_code}."
    return "\n".join([*lines, "", *(f"- {_class(row, analysis)}" for row in group.rows)])


def _class(row: JudgedRow, analysis: SurveyAnalysis) -> str:
    """Say of one class what came out, where, and what shows it."""
    figures, said = row.figures, []
    if figures is not None and figures.error is not None:
        said.append(f"fails: {in_code(figures.error)}")
    elif figures is not None:
        norm, cosine = figures.grad_norm_ratio, figures.grad_cosine
        said.append(f"{figure(row.ratio)} times the right one at k = {row.accumulation_steps}")
        said += [f"gradient norm {figure(norm)} times"] if norm is not None else []
        said += [f"cosine {cosine:.3f}"] if cosine is not None and cosine < 0.9995 else []
    place = f" ({escape(_place(row))})" if row.location else ""
    name = in_code(row.class_name or row.item.name)
    return f"{name} loss {', '.join(said)}{place}: {in_code(shell_line(command_of(row, analysis)))}"


def _place(row: JudgedRow) -> str:
    return f"{row.location.file.rsplit('/', 1)[-1]}:{row.location.line}" if row.location else ""


def _with_flag_on(analysis: SurveyAnalysis, heading: str) -> Iterator[str]:
    """Name what is only affected where somebody sets the flag: it is no default's fault, but a trap."""
    found: dict[tuple[str, str], list[str]] = {}
    for each in surveyed(analysis):
        for row in each.rows:
            code = wrong_with_flag_on(row)
            if code is not None:
                found.setdefault((row.item.transformers, code), []).append(row.class_name or row.item.name)
    if not found:
        return
    yield f"{heading} With the flag on only"
    yield "The Trainer leaves the flag off for these. Do not set `trainer.model_accepts_loss_kwargs = True`:"
    for (release, code), names in found.items():
        yield f"- {code} under transformers {escape(release)}, {len(names)}: {_names(sorted(set(names)))}"


def _right(analysis: SurveyAnalysis, heading: str) -> Iterator[str]:
    found: Mapping[tuple[str, ...], Sequence[str]] = right_groups(analysis)
    if not found:
        return
    yield f"{heading} Checked and right"
    for releases, names in found.items():
        yield f"Under {escape(listed(releases))}, {len(names)}: {_names(names)}"


def _unjudged(analysis: SurveyAnalysis, heading: str) -> Iterator[str]:
    found = unjudged_groups(analysis)
    if not found:
        return
    yield f"{heading} No verdict"
    yield "\n".join(f"- {in_code(clean(reason))} {_names(names)}" for reason, names in found.items())


def _names(names: Sequence[str]) -> str:
    return ", ".join(map(in_code, names))


REPORTERS = (
    Reporter("markdown", ".md", False, SURVEYS, lambda analysis, view: render_survey_markdown(analysis).encode()),
)
