"""A comparison on the terminal: what changed, then how many there are of what, then whether something is worse."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.cells import cell_len

from gacheck.core.compare import KINDS, Change, PassChange, Result
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
    any_ratio = False
    for kind in KINDS:
        if kind in ("same", "unjudged"):
            continue
        groups: dict[str, list[Change]] = {}
        for change in comparison.of(kind):
            groups.setdefault(change_label(change), []).append(change)
        for label, changes in groups.items():
            any_ratio |= any(ratio_cell(change) for change in changes)
            number = f" ({len(changes)})" if len(changes) > 1 else ""
            title = wrap(f"{TITLES[kind]}: {label}{number}", "", width, indent=2)
            yield [*title, *_listed(comparison, changes, width, whole=kind == "regressed")]
    if any_ratio:
        yield wrap("Figures: the loss over the right one, with the flag as the Trainer chooses it.", "", width)


def _listed(comparison: Comparison, changes: Sequence[Change], width: int, *, whole: bool) -> list[str]:
    shown = changes if whole or len(changes) <= MOST_LISTED else changes[:MOST_LISTED]
    names = [clean(comparison.subject(change).name) for change in shown]
    # A ratio stands in a column of its own.
    column = min(max(map(cell_len, names)), width - len(INDENT) - 24)
    lines = []
    for change, name in zip(shown, names, strict=True):
        told = _told(comparison, change)
        label = f"{INDENT}{name}{' ' * (column - cell_len(name))}" if told else f"{INDENT}{name}"
        lines += wrap(f"  {told}" if told else "", label, width, indent=len(INDENT) + 2)
    if len(shown) < len(changes):
        lines.append(f"{INDENT}and {len(changes) - len(shown)} more, which --json names")
    return lines


def _told(comparison: Comparison, change: Change) -> str:
    """Say of a class what belongs to its change: its ratio, or else which pass is another; why it has no verdict."""
    ratio = ratio_cell(change)
    if ratio is not None:
        return ratio
    if change.kind == "moved":
        flag = flag_change(change)
        passes = [
            f"{pass_label(each)} {', '.join(filter(None, (*_moves(each), *rule_changes(each))))}"
            for each in change.passes
        ]
        return "; ".join([*([f"flag {flag}"] if flag else []), *passes])
    return shorten(clean(reason_of(comparison, change) or ""), REASON_COLUMNS)


def ratio_cell(change: Change) -> str | None:
    """Write what the ratio was and what it is; None where it is not known or seen to be the same."""
    a, b = (
        figure(each.ratio) if each is not None and each.ratio is not None else None for each in (change.a, change.b)
    )
    if a is not None and b is not None:
        return f"{a} → {b}" if a != b else None
    return a or b


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


def _moves(change: PassChange) -> tuple[str, str]:
    a, b, figures = change.a, change.b, change.figures
    if a is None or b is None:
        return "", ""
    ratio = f"ratio {figure(a.ratio)} → {figure(b.ratio)}" if "ratio" in figures else ""
    grad = f"grad {figure(a.grad_norm_ratio)} → {figure(b.grad_norm_ratio)}" if "grad_norm_ratio" in figures else ""
    return ratio, grad


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
