"""The verdict on one line, for the lists that test runners and logs make: what counts comes first."""

from __future__ import annotations

from gacheck.reporters.text import clean
from gacheck.words.analysis import Analysis


def render_line(analysis: Analysis) -> str:
    """Render code, summary, line of code and fix."""
    verdict = analysis.verdict
    severity = verdict.severity.upper()
    # OK and INCONCLUSIVE are their own severity.
    head = verdict.code if verdict.code == severity else f"{severity} {verdict.code}"
    frames = analysis.record.oracle.loss_location
    place = f"{frames[0].file.rsplit('/', 1)[-1]}:{frames[0].line}" if frames else ""
    fix = " ".join(verdict.words.fix.split("\n")[0].split("  #")[0].split())
    parts = [f"{head}: {verdict.words.summary}", *([] if analysis.ok else [place, f"fix: {fix}"])]
    return clean("; ".join(filter(None, parts)))
