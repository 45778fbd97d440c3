"""A GitHub Actions annotation: the finding, shown at the top of the job."""

from __future__ import annotations

from gacheck.reporters.smoke import finding
from gacheck.reporters.text import clean
from gacheck.words.analysis import Analysis

LEVELS = {"fail": "error", "inconclusive": "warning", "warn": "warning", "ok": "notice"}


def render_annotation(analysis: Analysis) -> str:
    """Render the workflow command that makes the annotation.

    Source: "Workflow commands for GitHub Actions": in the message %, CR and LF are escaped, in a property also
    colon and comma.
    """
    verdict = analysis.verdict
    # The line ends that count are those of the fix: a name that brings its own would forge one.
    message = f"{clean(analysis.record.model.class_name)}: {clean(finding(analysis))}\nfix: {verdict.words.fix}"
    title = _escape(f"gacheck {verdict.code}").replace(":", "%3A").replace(",", "%2C")
    return f"::{LEVELS[verdict.severity]} title={title}::{_escape(message)}\n"


def _escape(text: str) -> str:
    lines = "\n".join(clean(line) for line in text.split("\n"))
    return lines.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
