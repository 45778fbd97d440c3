"""A comparison on the terminal: what changed, then how many there are of what, then whether something is worse."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.cells import cell_len

from gacheck.core.compare import KINDS, Change, Kind, PassChange, Result
from gacheck.reporters.reporter import PAGE, View
from gacheck.reporters.text import ascii_only, clean, figure, paint_word, shorten, wrap
from gacheck.rules.table import Severity
from gacheck.words.changes import (
    HEADS,
    TITLES,
    change_label,
    counts_line,
    flag_change,
    reason_of,
    result_line,
    rule_changes,
)
from gacheck.words.comparison import Comparison

# Of a list; what is worse is listed whole. The JSON has all.
MOST_LISTED = 20

# Enough to recognise a reason by.
REASON_COLUMNS = 200

INDENT = "    "
# Beside a name there is room for at least a ratio that moved.
TOLD_COLUMNS = 24

TOLD: tuple[Kind, ...] = tuple(kind for kind in KINDS if kind not in ("unjudged", "same"))
"""What is a change."""

SHOWN_FACTS = ("transformers", "torch")

_SEVERITIES: dict[Result, Severity] = {"regression": "fail", "unjudged": "inconclusive", "none": "ok"}


def render_text(comparison: Comparison, view: View = PAGE) -> str:
    """Render header, changes, counts and the last line."""
    width = view.columns
    lines = [*_header(comparison, width), ""]
    blocks = list(_trainings(comparison, width) if comparison.kind != "survey" else _classes(comparison, width))
    for block in blocks:
        lines += [*block, ""]
    if not comparison.same_rows:
        lines += wrap("The rows are not the same: ratios are not compared, only verdicts and rules.", "", width)
    if comparison.kind == "survey":
        lines += wrap(counts_line(comparison), "", width)
    lines += _last(comparison, view)
    text = "\n".join(lines) + "\n"
    return ascii_only(text) if view.ascii else text


def _header(comparison: Comparison, width: int) -> list[str]:
    """Name the two records: the versions that one asks for first, and whatever differs."""
    a, b = comparison.a, comparison.b
    names = dict.fromkeys((*SHOWN_FACTS, *a.facts, *b.facts))
    differ = {name for name in a.facts.keys() & b.facts.keys() if a.facts[name] != b.facts[name]}
    shown = [name for name in names if name in SHOWN_FACTS or name in differ]
    column = max(cell_len(clean(side.name)) for side in (a, b))
    lines = []
    for label, side in (("A", a), ("B", b)):
        facts = " · ".join(f"{name} {side.facts[name]}" for name in shown if name in side.facts)
        name = clean(side.name)
        text = f"{name}{' ' * (column - cell_len(name))}   {clean(facts)}" if column < width // 2 else f"{name} {facts}"
        lines += wrap(text.rstrip(), f"{label}  ", width, whole_words=True)
    return lines


def _last(comparison: Comparison, view: View) -> list[str]:
    first, *rest = wrap(clean(result_line(comparison)), "", view.columns, indent=2)
    result = comparison.result
    return [paint_word(first, HEADS[result], _SEVERITIES[result]) if view.color else first, *rest]


# A survey


def _classes(comparison: Comparison, width: int) -> Iterator[list[str]]:
    """Yield a block for every change of a verdict, with the classes that it happened to."""
    groups: dict[tuple[Kind, str], list[Change]] = {}
    for kind in TOLD:
        for change in comparison.of(kind):
            groups.setdefault((kind, _title(change)), []).append(change)
    for (kind, title), changes in groups.items():
        number = f" ({len(changes)})" if len(changes) > 1 else ""
        lines = wrap(f"{TITLES[kind]}: {title}{number}", "", width, indent=2)
        yield [*lines, *_listed(comparison, changes, width, whole=kind == "regressed")]
    if any(ratio_change(change) for change in comparison.changes):
        yield wrap("Figures: the loss over the right one, with the flag as the Trainer chooses it.", "", width)


def _title(change: Change) -> str:
    """Say what classes have in common that are listed together: the verdicts, or else what is not the same."""
    label = change_label(change)
    if change.kind != "moved" or ratio_change(change):
        return label
    flag = flag_change(change)
    passes = [
        f"{pass_label(each)} {' and '.join(rule_changes(each) or filter(None, _moves(each)))}" for each in change.passes
    ]
    return "; ".join([label, *([f"flag {flag}"] if flag else []), *passes])


def _listed(comparison: Comparison, changes: Sequence[Change], width: int, *, whole: bool) -> list[str]:
    shown = changes if whole else changes[:MOST_LISTED]
    rows = [(clean(comparison.subject(change).name), _told(comparison, change)) for change in shown]
    alone = [name for name, told in rows if not told]
    lines = wrap(", ".join(alone), INDENT, width) if alone else []
    # What is told stands in a column of its own, below a name that leaves no room for it.
    column = min(max((cell_len(name) for name, told in rows if told), default=0), width - len(INDENT) - TOLD_COLUMNS)
    for name, told in rows:
        if told and cell_len(name) <= column:
            lines += wrap(told, f"{INDENT}{name}{' ' * (column - cell_len(name))}  ", width)
        elif told:
            lines += [*wrap(shorten(name, REASON_COLUMNS), INDENT, width), *wrap(told, INDENT * 2, width)]
    if len(shown) < len(changes):
        lines.append(f"{INDENT}and {len(changes) - len(shown)} more, which --json names")
    return lines


def _told(comparison: Comparison, change: Change) -> str:
    """Say of a class what is its own: its ratios, or why it has no verdict."""
    if change.is_judged:
        return ratio_change(change) or ""
    reason = reason_of(comparison, change) if change.kind in ("lost", "new", "gone") else None
    return shorten(clean(reason or ""), REASON_COLUMNS)


def ratio_change(change: Change) -> str | None:
    """Write what the ratio was and what it is; None where one is not known, or both look the same."""
    a, b = (
        figure(each.ratio) if each is not None and each.ratio is not None else None for each in (change.a, change.b)
    )
    return f"{a} → {b}" if a is not None and b is not None and a != b else None


# A run, or an attached training


def _trainings(comparison: Comparison, width: int) -> Iterator[list[str]]:
    for change in comparison.changes:
        lines = wrap(f"{TITLES[change.kind]}: {change_label(change)}", "", width, indent=2)
        reason = reason_of(comparison, change)
        if reason is not None:
            lines += wrap(shorten(clean(reason), REASON_COLUMNS), INDENT, width)
        flag = flag_change(change)
        if flag is not None:
            name = "flag in force" if comparison.kind == "attach" else "flag, as the Trainer chose it"
            lines += wrap(f"{name}: {flag}", INDENT, width)
        yield [*lines, *_figures(change, width), *_rules(change, width)]


def _figures(change: Change, width: int) -> list[str]:
    """Lay out the ratios that moved, a line a pass, and say what they are."""
    rows = [(pass_label(each), *_moves(each)) for each in change.passes if any(_moves(each))]
    if not rows:
        return []
    widths = [max(map(cell_len, cells)) for cells in zip(*rows, strict=True)]
    lines = ["   ".join(cell.ljust(column) for cell, column in zip(row, widths, strict=True)).rstrip() for row in rows]
    legend = wrap("ratio, grad: this pass's loss, gradient norm / the right one", INDENT, width)
    return [*(f"{INDENT}{line}" for line in lines), *legend]


def _moves(change: PassChange) -> list[str]:
    """Write the ratios that moved; empty for one that did not."""
    a, b, figures = change.a, change.b, change.figures
    if a is None or b is None:
        return ["", ""]
    ratio = f"ratio {figure(a.ratio)} → {figure(b.ratio)}" if "ratio" in figures else ""
    grad = f"grad {figure(a.grad_norm_ratio)} → {figure(b.grad_norm_ratio)}" if "grad_norm_ratio" in figures else ""
    return [ratio, grad]


def _rules(change: Change, width: int) -> list[str]:
    """Say which other arithmetic explains the passes, or how they ended: each once."""
    passes: dict[str, list[str]] = {}
    for each in change.passes:
        for said in rule_changes(each):
            passes.setdefault(said, []).append(pass_label(each))
    return [
        line
        for said, names in passes.items()
        for line in wrap(f"{said}: {', '.join(names)}", INDENT, width, indent=len(INDENT) + 2)
    ]


def pass_label(change: PassChange) -> str:
    """Name a pass as a person does; one that an attached training did at another value of the flag by its k alone."""
    known, flags = change.known, {each.loss_kwargs for each in (change.a, change.b) if each is not None}
    flag = f" {known.loss_kwargs}" if len(flags) == 1 else ""
    return f"k={known.accumulation_steps}{flag}{' tail' if known.tail else ''}"
