"""What was read of classes, as a person sees it: effect by effect, each class with its line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.cells import cell_len

from gacheck.lint.finding import Finding, LintReport
from gacheck.reporters.reporter import PAGE, View
from gacheck.reporters.text import ascii_only, clean, shorten, wrap
from gacheck.rules.table import Severity
from gacheck.words.lint import MEANING, SEVERITY, TITLE, detail, flag

INDENT = "  "
LATER = " " * 6
# Of one effect; all are listed where all are asked for, or few.
MOST_ROWS = 12
LONGEST_NAME = 36
_COLORS: dict[Severity, str] = {"fail": "31", "warn": "33", "ok": "32", "inconclusive": "36"}


def render_lint(report: LintReport, view: View = PAGE) -> str:
    """Render every effect with its classes; what is gravest stands last, next to the prompt."""
    release = f"transformers {clean(report.transformers)}" if report.transformers else "transformers is not installed"
    lines = wrap(f"{release}, read and not run: {_classes(len(report.findings))}", "", view.columns)
    for effect, severity in SEVERITY.items():
        findings = report.having(effect)
        if findings:
            head = f"{TITLE[effect]}  {_classes(len(findings))}: "
            first, *rest = wrap(MEANING[effect], head, view.columns, indent=0)
            lines += ["", _painted(first, TITLE[effect], severity) if view.color else first, *rest]
            lines += _shown(findings, view)
    lines += ["", *_more(report, view.columns)]
    text = "\n".join(lines) + "\n"
    return ascii_only(text.replace("→", "->")) if view.ascii else text


def _painted(line: str, title: str, severity: Severity) -> str:
    return f"\x1b[1;{_COLORS[severity]}m{title}\x1b[0m{line.removeprefix(title)}"


def _classes(number: int) -> str:
    return f"{number} class{'' if number == 1 else 'es'}"


def _shown(findings: Sequence[Finding], view: View) -> Iterator[str]:
    shown = findings if view.verbose else findings[:MOST_ROWS]
    longest = min(LONGEST_NAME, max(len(each.class_name) for each in shown))
    for each in shown:
        yield from _row(each, longest, view.columns)
    if len(shown) < len(findings):
        yield f"{INDENT}… and {len(findings) - len(shown)} more"


def _row(finding: Finding, name_columns: int, width: int) -> list[str]:
    name = shorten(clean(finding.class_name), width - len(INDENT))
    said = [detail(finding)]
    if finding.effect == "mean_of_means" and (finding.counted or not finding.flag):
        said.append(flag(finding))
    text = clean("; ".join(filter(None, said)))
    first = f"{INDENT}{name:<{name_columns}}  "
    if cell_len(first) <= width // 2:
        return wrap(text, first, width, indent=len(LATER))
    return [f"{INDENT}{name}", *wrap(text, LATER, width)]


def _more(report: LintReport, width: int) -> Iterator[str]:
    heads = iter(("more      ", " " * 10))
    doubtful = next((each for effect in ("affected", "unknown") for each in report.having(effect)), None)
    if doubtful is not None and doubtful.model_type is not None:
        command = f"gacheck run tiny:{clean(doubtful.class_name)}"
        yield from wrap(f"{command}   # measures it", next(heads), width, whole_words=True)
    yield from wrap("gacheck lint --json  has every line of code on the way", next(heads), width)
