"""The verdict on one line, for a chat or a commit message."""

from __future__ import annotations

from gacheck.reporters.reporter import TRAININGS, Reporter, View
from gacheck.reporters.text import clean
from gacheck.words.analysis import Analysis


def render_one_line(analysis: Analysis, view: View) -> bytes:
    """Render code and summary."""
    return f"{analysis.verdict.code}: {clean(analysis.verdict.words.summary)}\n".encode()


REPORTERS = (Reporter("one-line", ".line", False, TRAININGS, render_one_line),)
