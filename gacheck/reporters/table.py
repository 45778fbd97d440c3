"""The terminal's table: lays the grid out in columns."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from rich.cells import cell_len

from gacheck.core.figures import PassFigures
from gacheck.core.finding import FlagFinding
from gacheck.reporters.grid import (
    ERROR_COLUMNS,
    failed,
    find_pass,
    flag_title,
    has_answer,
    judged_passes,
    name_passes,
    pass_cells,
    ran,
    right_answer,
    rule_label,
    tail_notes,
    tried_flags,
    tried_steps,
)
from gacheck.reporters.text import clean, difference, figure, shorten, wrap
from gacheck.rules.facts import Flag
from gacheck.words.analysis import Analysis

K_WIDTH = 6
MARGIN = 10
# Where there is no room for more.
LEAST_MARGIN = 5
COLUMN_SPACE = 2
NUMBER_WIDTH = 5
DIFFERENCE_WIDTH = 10
# Columns between groups: as many as there is room for.
GROUP_SPACES = (5, 4, 3, 2, 1)
# A table of more groups than this ends with the differences between the two of the flag.
DIFFERENCES = 2


@dataclass(frozen=True)
class Group:
    """Columns under one heading: `rows[0]` are the column titles, `labels` the lines that say which rule explains."""

    title: str
    rows: tuple[tuple[str, ...], ...]
    labels: tuple[str, ...] = ()

    @property
    def widths(self) -> list[int]:
        """Columns that each column takes."""
        return [max(NUMBER_WIDTH, *map(cell_len, cells)) for cells in zip(*self.rows, strict=True)]

    @property
    def width(self) -> int:
        """Columns that the whole group takes."""
        inner = sum(self.widths) + COLUMN_SPACE * (len(self.widths) - 1)
        return max(inner, cell_len(self.title), *map(cell_len, self.labels))

    def line(self, index: int) -> str:
        """Return one row, padded to the group's width."""
        cells = (cell.rjust(width) for cell, width in zip(self.rows[index], self.widths, strict=True))
        return (" " * COLUMN_SPACE).join(cells).ljust(self.width)

    def label(self, index: int) -> str:
        """Return one line of the label, padded to the group's width; empty below its last."""
        return (self.labels[index] if index < len(self.labels) else "").ljust(self.width)

    def narrowed(self) -> Group:
        """Return the group with its label broken into lines that fit under the columns."""
        width = replace(self, labels=()).width
        return replace(self, labels=tuple(line for label in self.labels for line in wrap(label, "", width, indent=2)))


def table(analysis: Analysis, width: int) -> list[str]:
    """Lay out sentence, table, legend and what the table cannot hold."""
    if not ran(analysis):
        return ["No pass has run yet."]
    groups, margin = _fitted(_groups(analysis), width)
    room = width - len(margin) - _width(groups)
    space = next((n for n in GROUP_SPACES if n * (len(groups) - 1) <= room), GROUP_SPACES[-1]) * " "
    lines = wrap(_sentence(analysis), "", width)
    lines += ["", margin + space.join(group.title.ljust(group.width) for group in groups)]
    for index, k in enumerate(["k", *map(str, tried_steps(analysis))]):
        lines.append(
            k.rjust(min(K_WIDTH, len(margin) - 1)).ljust(len(margin))
            + space.join(group.line(index) for group in groups)
        )
    for index in range(max(len(group.labels) for group in groups)):
        lines.append(margin + space.join(group.label(index) for group in groups))
    if any(p.ratio is not None or p.grad_norm_ratio is not None for p in analysis.passes):
        lines += wrap("ratio, grad: this pass's loss, gradient norm / the right one", margin, width)
    return [line.rstrip() for line in lines] + _footnotes(analysis, width)


def _fitted(groups: list[Group], width: int) -> tuple[list[Group], str]:
    """Make the groups fit: labels of several lines, then a narrower margin, then no differences, which can be seen."""
    narrowed = [group.narrowed() for group in groups]
    choices = [(groups, MARGIN), (narrowed, MARGIN), (narrowed, LEAST_MARGIN)]
    choices += [(narrowed[:-1], LEAST_MARGIN)] if len(groups) > DIFFERENCES else []
    for chosen, margin in choices:
        if _width(chosen) + GROUP_SPACES[-1] * (len(chosen) - 1) <= width - margin:
            break
    return chosen, " " * margin


def _width(groups: Sequence[Group]) -> int:
    """Return the columns that the groups take, without the spaces between them."""
    return sum(group.width for group in groups)


def _sentence(analysis: Analysis) -> str:
    answer = right_answer(analysis)
    if answer is not None:
        scope = " for every k" if len(tried_steps(analysis)) > 1 else ""
        return f"First-step loss. The right answer is {figure(answer)}{scope}."
    if not has_answer(analysis):
        return "First-step loss."
    if analysis.record.setup.per_device_train_batch_size is not None:
        return "First-step loss. The right answer depends on k: a larger k takes more rows."
    return "First-step loss. The right answer differs between the passes."


def _groups(analysis: Analysis) -> list[Group]:
    flags, ks = tried_flags(analysis), tried_steps(analysis)
    differs = right_answer(analysis) is None and has_answer(analysis)
    # It depends on the flag too where one value gives another objective.
    by_flag = differs and any(_differs_at(analysis, k) for k in ks)
    groups = []
    if differs and not by_flag:
        groups.append(Group("", (("right",), *((figure(right_answer(analysis, k)),) for k in ks))))
    groups += [_flag_group(analysis, flag, ks, answer=by_flag) for flag in flags]
    if len(flags) > 1:
        by_k = {d.accumulation_steps: d.first_step_on_minus_off for d in analysis.divergence}
        rows = tuple((difference(by_k.get(k)),) for k in ks)
        groups.append(Group("on − off".rjust(DIFFERENCE_WIDTH), (("loss".rjust(DIFFERENCE_WIDTH),), *rows)))
    return groups


def _differs_at(analysis: Analysis, k: int) -> bool:
    known = any(p.reference_loss is not None for p in analysis.passes if p.accumulation_steps == k)
    return known and right_answer(analysis, k) is None


def _flag_group(analysis: Analysis, flag: Flag, ks: Sequence[int], *, answer: bool) -> Group:
    titles = ("loss", *(("right",) if answer else ()), "ratio", "grad")
    rows = [_cells(find_pass(analysis, k, flag), answer=answer) for k in ks]
    finding = next((f for f in analysis.findings if f.flag == flag), None)
    label = _column_label(analysis, finding)
    return Group(flag_title(analysis, flag), (titles, *rows), (label,) if label else ())


def _cells(figures: PassFigures | None, *, answer: bool) -> tuple[str, ...]:
    loss, *others = pass_cells(figures)
    right = figure(figures.reference_loss) if figures is not None and figures.status == "ok" else ""
    return (loss, *((right,) if answer else ()), *others)


def _column_label(analysis: Analysis, finding: FlagFinding | None) -> str:
    """Return the rule that explains the whole column; empty where it takes one per row."""
    if finding is None or finding.forward is None:
        return ""
    passes = judged_passes(analysis, finding)
    if finding.forward.rule is not None:
        # One micro-batch a step is weighed rightly by most rules: that is no praise of the flag.
        alone = all(p.accumulation_steps == 1 for p in passes)
        return f"= {finding.forward.rule.label}{' (at k=1)' if alone else ''}"
    return rule_label(finding.forward) if len({rule_label(p.forward) for p in passes}) <= 1 else ""


def _footnotes(analysis: Analysis, width: int) -> list[str]:
    """Say what does not fit into the table: rules that differ by row, late NaNs, errors; each reason once."""
    notes: list[tuple[str, str]] = []
    for finding in analysis.findings:
        if finding.forward is not None and not _column_label(analysis, finding):
            passes = judged_passes(analysis, finding)
            rules = [f"k={p.accumulation_steps} {rule_label(p.forward)}" for p in passes]
            notes.append((f"flag {finding.flag}:", ", ".join(rules)))
    notes += tail_notes(analysis)
    late = [
        p for p in analysis.passes if p.nonfinite and p.reported_loss is not None and math.isfinite(p.reported_loss)
    ]
    if late:
        notes.append(("not finite in a later step:", name_passes(late)))
    notes += [
        (f"failed: {name_passes(passes)}:", shorten(clean(reason), ERROR_COLUMNS))
        for reason, passes in failed(analysis).items()
    ]
    return [line for label, text in notes for line in wrap(f"{label} {text}", " " * MARGIN, width)]
