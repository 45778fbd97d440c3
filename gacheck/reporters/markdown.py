"""The analysis as Markdown, to paste into an issue: verdict, table, reasons, and how to see it again.

Names and error messages come from outside. They stand in code wherever they can: there GitHub reads no markup,
mentions nobody and links nothing. In sentences they are escaped.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from gacheck.core.figures import PassFigures
from gacheck.reporters.attached import step_table
from gacheck.reporters.command import repeat_line
from gacheck.reporters.grid import (
    ERROR_COLUMNS,
    failed,
    find_pass,
    flag_title,
    name_passes,
    num_passes,
    pass_cells,
    ran,
    right_cell,
    rule_cell,
    tail_notes,
    tried_flags,
    tried_steps,
)
from gacheck.reporters.reporter import TRAININGS, Reporter
from gacheck.reporters.reproduce import environment_facts, main_facts
from gacheck.reporters.text import clean, shorten
from gacheck.words.analysis import Analysis

# An empty comment after @ and # parts them from the name or number, so that nobody is notified by an error message;
# a backslash would not. Dollar signs enclose formulas unless they stand alone in an element.
_ESCAPES = str.maketrans(
    {char: f"\\{char}" for char in "\\`*[]~|"}
    | {"&": "&amp;", "<": "&lt;", ">": "&gt;", "@": "@<!-- -->", "#": "#<!-- -->", "$": "<span>$</span>"}
)
# An underscore inside a word is none of Markdown's business; it stays legible in the source.
_OUTER_UNDERSCORES = re.compile(r"(?<![^\W_])_+|_+(?![^\W_])")

# More than any sentence of ours takes; an error message that it quotes may have no end.
TEXT_COLUMNS = 500

LEGEND = (
    "First-step loss at each k (`gradient_accumulation_steps`); flag: the Trainer's `model_accepts_loss_kwargs`. "
    "Ratio and grad: this pass's loss and gradient norm over the right one's."
)


def render_markdown(analysis: Analysis) -> str:
    """Render a short report in GitHub's Markdown."""
    blocks = [
        f"### gacheck: {_headline(analysis)}",
        _subject(analysis),
        *_incomplete(analysis),
        *_table(analysis),
        *_beside_the_table(analysis),
        *_verdict(analysis),
        "To reproduce:",
        _fence(*repeat_line(analysis.record)),
        _environment(analysis),
    ]
    return "\n\n".join(blocks) + "\n"


def escape(text: str) -> str:
    """Make text harmless within a line of prose."""
    plain = shorten(clean(text), TEXT_COLUMNS)
    # Before the rest: what that adds holds no underscore.
    marked = _OUTER_UNDERSCORES.sub(lambda found: "\0" * len(found[0]), plain)
    return marked.translate(_ESCAPES).replace("\0", "\\_")


def code(text: str) -> str:
    """Put text into a code span whose ends are longer than any run of backticks in it."""
    inner = shorten(clean(text), ERROR_COLUMNS) or " "
    ends = "`" * (1 + max(map(len, re.findall("`+", inner)), default=0))
    # Markdown takes one space off both sides again.
    pad = " " if inner[0] in " `" or inner[-1] in " `" else ""
    return f"{ends}{pad}{inner}{pad}{ends}"


def _fence(language: str, text: str) -> str:
    """Put lines into a block; each begins with a word of ours, so none can be the block's end."""
    return f"```{language}\n{text}\n```"


def _headline(analysis: Analysis) -> str:
    verdict = analysis.verdict
    severity = verdict.severity.upper()
    # OK and INCONCLUSIVE are their own severity.
    head = verdict.code if verdict.code == severity else f"{severity} {verdict.code}"
    return escape(f"{head}: {verdict.words.summary}{'' if analysis.record.complete else ' (incomplete)'}")


def _subject(analysis: Analysis) -> str:
    model = analysis.record.model
    facts = [code(model.name), *(["tiny stand-in"] if model.stand_in else [])]
    facts += [f"adapter {code(model.adapter)}"] if model.adapter else []
    facts.append("random weights" if model.random_weights else f"{model.num_parameters:,} parameters")
    return " · ".join([f"{code(model.class_name)} ({', '.join(facts)})", *map(escape, main_facts(analysis))])


def _incomplete(analysis: Analysis) -> list[str]:
    done, planned = num_passes(analysis)
    return [] if analysis.record.complete else [f"**Incomplete: {done} of {planned} passes have run.**"]


def _table(analysis: Analysis) -> list[str]:
    """Lay out one row a k; the flag values side by side."""
    if not ran(analysis):
        return []
    if analysis.attached is not None:
        return ["\n".join(["```text", *step_table(analysis), "```"])]
    flags = tried_flags(analysis)
    header = ["k", "right answer"]
    for flag in flags:
        header += [f"loss, {flag_title(analysis, flag)}", "ratio", "grad", "rule"]
    rows = [header, ["---:", "---:", *["---:", "---:", "---:", "---"] * len(flags)]]
    for k in tried_steps(analysis):
        cells = [cell for flag in flags for cell in _cells(find_pass(analysis, k, flag))]
        rows.append([str(k), right_cell(analysis, k), *cells])
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return [table, LEGEND]


def _cells(figures: PassFigures | None) -> list[str]:
    return [*pass_cells(figures), rule_cell(figures)]


def _beside_the_table(analysis: Analysis) -> list[str]:
    """Say what the table cannot hold: the tail of an epoch, and each reason for a failure once."""
    lines = [f"- {label} {escape(text)}" for label, text in tail_notes(analysis)]
    lines += [f"- failed, {name_passes(passes)}: {code(reason)}" for reason, passes in failed(analysis).items()]
    return ["\n".join(lines)] if lines else []


def _verdict(analysis: Analysis) -> Iterator[str]:
    words = analysis.verdict.words
    yield f"**Why:** {escape(words.cause)}"
    yield f"**Training:** {escape(words.impact)}"
    line = words.remedy.trainer
    if line is None or not words.fix.startswith(line.split("  #")[0]):
        yield f"**Fix:** {' '.join(map(escape, words.fix.splitlines()))}"
    else:
        yield "**Fix:**"
        yield _fence("python", line)
        # The first line of the fix is that same line of code.
        yield from map(escape, words.fix.split("\n")[1:])
    if words.notes:
        yield "\n".join(f"- {escape(note)}" for note in words.notes)


def _environment(analysis: Analysis) -> str:
    facts = environment_facts(analysis)
    lines = [f"{clean(name):<14}{shorten(clean(value), ERROR_COLUMNS)}" for name, value in facts.items()]
    body = _fence("text", "\n".join(lines))
    # Markdown is read again only after an empty line.
    return f"<details>\n<summary>Environment</summary>\n\n{body}\n\n</details>"


REPORTERS = (Reporter("markdown", ".md", False, TRAININGS, lambda analysis, view: render_markdown(analysis).encode()),)
