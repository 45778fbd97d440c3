"""A survey as a person sees it: release by release how many have which verdict, then the classes that are not OK."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.cells import cell_len

from gacheck.reporters.reporter import PAGE, SURVEYS, Reporter, View
from gacheck.reporters.text import HEADS, ascii_only, clean, duration, figure, paint, shorten, wrap
from gacheck.rules.table import SEVERITY_RANK, Severity
from gacheck.words.survey import JudgedRow, SurveyAnalysis

INDENT = "  "
# Of one verdict; the rest is in every other format, and here where all is asked for.
MOST_ROWS = 12
LONGEST_NAME = 44
RATIO_WIDTH = 9


def render_survey(analysis: SurveyAnalysis, view: View = PAGE) -> str:
    """Render header, counts, and the rows of every verdict but OK; of OK too where all is asked for."""
    lines = _header(analysis, view.columns)
    for release in analysis.record.releases:
        lines += ["", *_release(analysis.of(release), release, view)]
    lines += ["", *_more(analysis, view)]
    text = "\n".join(lines) + "\n"
    return ascii_only(text) if view.ascii else text


def _header(analysis: SurveyAnalysis, width: int) -> list[str]:
    record = analysis.record
    packages = record.environment.packages
    parts = [f"gacheck {record.environment.gacheck}"]
    parts += [f"{name} {packages[name]}" for name in ("torch",) if name in packages]
    ks = sorted({row.accumulation_steps for row in analysis.rows if row.accumulation_steps})
    how = f"two optimizer steps each at k = {', '.join(map(str, ks))}, flag on and off; tiny stand-ins" if ks else ""
    seconds = sum(row.seconds for row in analysis.rows)
    lines = wrap(clean(" · ".join(parts)), "", width)
    lines += wrap(f"{how}; {duration(seconds)} of work" if how else "nothing was judged", "survey  ", width)
    if record.missing:
        lines += wrap(f"{len(record.missing)} of {len(record.items)} are not measured yet", "        ", width)
    return lines


def _release(rows: Sequence[JudgedRow], release: str, view: View) -> Iterator[str]:
    judged = [row for row in rows if row.analysis is not None]
    yield from wrap(f"{len(judged)} of {len(rows)} judged", f"transformers {clean(release)}: ", view.columns)
    for code, severity in _verdicts(judged):
        yield from _group(code, severity, [row for row in judged if (row.code, row.severity) == (code, severity)], view)
    unjudged = [row for row in rows if row.analysis is None]
    if unjudged:
        yield f"No verdict  {_classes(len(unjudged))}"
        shown = unjudged if view.verbose else unjudged[:MOST_ROWS]
        for row in shown:
            yield from wrap(clean(row.reason or ""), f"{INDENT}{_short_name(row)}  ", view.columns, indent=4)
        if len(shown) < len(unjudged):
            yield f"{INDENT}… and {len(unjudged) - len(shown)} more"


def _verdicts(rows: Sequence[JudgedRow]) -> list[tuple[str, Severity]]:
    """Return codes and severities, the most harmless first: what fails stands near the prompt."""
    found = {(row.code, row.severity) for row in rows if row.code is not None and row.severity is not None}
    return sorted(found, key=lambda each: (SEVERITY_RANK[each[1]], each[0]))


def _group(code: str, severity: Severity, rows: Sequence[JudgedRow], view: View) -> Iterator[str]:
    head = HEADS[severity]
    line = f"{head if code == head else f'{head} {code}'}  {_classes(len(rows))}"
    yield paint(line, severity) if view.color else line
    if severity != "ok" or view.verbose:
        yield from _shown([_row_line(row, view.columns) for row in rows], view)


def _classes(number: int) -> str:
    return f"{number} class{'es' if number > 1 else ''}"


def _shown(lines: Sequence[str], view: View) -> Iterator[str]:
    shown = lines if view.verbose else lines[:MOST_ROWS]
    yield from shown
    if len(shown) < len(lines):
        yield f"{INDENT}… and {len(lines) - len(shown)} more"


def _row_line(row: JudgedRow, width: int) -> str:
    frame = row.location
    place = f"{frame.file.rsplit('/', 1)[-1]}:{frame.line}" if frame else ""
    return shorten(f"{INDENT}{_name(row)}{figure(row.ratio):>{RATIO_WIDTH}}  {clean(place)}".rstrip(), width)


def _name(row: JudgedRow) -> str:
    """Name the class, padded to a column."""
    name = _short_name(row)
    return name + " " * (LONGEST_NAME - cell_len(name))


def _short_name(row: JudgedRow) -> str:
    """Name the class, and what was asked for where that is not its name."""
    made, asked = clean(row.class_name or row.item.name), clean(row.item.name)
    return shorten(made if made == asked else f"{made} ({asked})", LONGEST_NAME)


def _more(analysis: SurveyAnalysis, view: View) -> Iterator[str]:
    wrong = next((row for row in reversed(analysis.rows) if row.severity in ("fail", "warn")), None)
    if wrong is not None:
        yield from wrap(
            "the reported loss over the right one, and the line that computes it", "columns   ", view.columns
        )
        yield from wrap(f"gacheck explain {wrong.code}", "more      ", view.columns)
        yield from wrap(f"gacheck run tiny:{clean(wrong.item.name)}", "          ", view.columns, whole_words=True)
    if view.saved is not None:
        yield from wrap(clean(view.saved), "saved     ", view.columns, whole_words=True)


REPORTERS = (
    Reporter("terminal", ".txt", False, SURVEYS, lambda analysis, view: render_survey(analysis, view).encode()),
)
