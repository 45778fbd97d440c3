"""A comparison in GitHub's Markdown, for the comment of a CI job.

Names come from outside. They stand in code: there GitHub reads no markup, mentions nobody and links nothing.
"""

from __future__ import annotations

from gacheck.core.compare import Change
from gacheck.reporters.comparison.text import TOLD, ratio_change
from gacheck.reporters.markdown import code, escape
from gacheck.words.changes import TITLES, change_label, counts_line, result_line
from gacheck.words.comparison import Comparison, Side

# GitHub takes no comment of more than 65,536 characters.
MOST_ROWS = 200


def render_markdown(comparison: Comparison) -> str:
    """Render the result, both records, and a table of what changed."""
    changed = [change for kind in TOLD for change in comparison.of(kind)]
    blocks = [
        f"### gacheck compare: {escape(result_line(comparison))}",
        f"- A: {_side(comparison.a)}\n- B: {_side(comparison.b)}",
        *([_table(comparison, changed)] if changed else []),
        *([escape(counts_line(comparison))] if comparison.kind == "survey" else []),
    ]
    return "\n\n".join(blocks) + "\n"


def _side(side: Side) -> str:
    shown = [f"{name} {side.facts[name]}" for name in ("transformers", "torch", "gacheck") if name in side.facts]
    return f"{code(side.name)} ({escape(', '.join(shown))})"


def _table(comparison: Comparison, changed: list[Change]) -> str:
    rows = [("class", "change", "verdict", "loss / right one"), ("---", "---", "---", "---:")]
    for change in changed[:MOST_ROWS]:
        name = escape(comparison.subject(change).name)
        rows.append((name, TITLES[change.kind], escape(change_label(change)), ratio_change(change) or ""))
    more = len(changed) - MOST_ROWS
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([*lines, *([f"\nand {more} more"] if more > 0 else [])])
