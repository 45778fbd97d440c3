"""The first-step table of the terminal: one row a k, one group of columns a flag value."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from rich.cells import cell_len

from gacheck.core.figures import PassFigures
from gacheck.core.findings import FlagFinding, PassFinding
from gacheck.reporters.text import NOT_MEASURED, clean, difference, figure, shorten, wrap
from gacheck.rules.facts import Flag
from gacheck.rules.matching import Match
from gacheck.words.analysis import Analysis

FLAGS: tuple[Flag, ...] = ("on", "off")

# Right answers that differ by less, relative, are one answer with roundings; a coarse dtype rounds more.
SAME_ANSWER = 1e-5
SLACK = 4.0

# Enough to recognise an error by; the whole message is in the JSON.
ERROR_COLUMNS = 200

K_WIDTH = 6
MARGIN = 10
COLUMN_SPACE = 2
NUMBER_WIDTH = 5
DIFFERENCE_WIDTH = 10
# Columns between groups: as many as there is room for.
GROUP_SPACES = (5, 4, 3, 2, 1)


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


def tried_flags(analysis: Analysis) -> list[Flag]:
    """Return the flag values that have a pass, on first."""
    return [flag for flag in FLAGS if any(p.loss_kwargs == flag for p in analysis.passes)]


def tried_steps(analysis: Analysis) -> list[int]:
    """Return the k that have a pass."""
    return sorted({p.accumulation_steps for p in analysis.passes})


def is_default(analysis: Analysis, flag: Flag) -> bool:
    """Return whether the Trainer chooses this value itself."""
    return analysis.flag.auto is not None and analysis.flag.auto == (flag == "on")


def flag_title(analysis: Analysis, flag: Flag) -> str:
    """Name a value of the flag, and say of the one that the Trainer chooses itself that it does."""
    is_chosen = is_default(analysis, flag) and analysis.record.attached is None
    return f"flag {flag}{' (default)' if is_chosen else ''}"


def find_pass(analysis: Analysis, k: int, flag: Flag) -> PassFigures | None:
    """Return the pass at one (k, flag), if it is recorded."""
    return next((p for p in analysis.passes if (p.accumulation_steps, p.loss_kwargs) == (k, flag)), None)


def right_answer(analysis: Analysis, k: int | None = None) -> float | None:
    """Return the right answer, at one k or at all of them, if the passes have the same one; else None."""
    answers = [
        p.reference_loss for p in analysis.passes if p.reference_loss is not None and k in (None, p.accumulation_steps)
    ]
    allowed = max(SAME_ANSWER, SLACK * analysis.tolerance.loss)
    if not answers or max(answers) - min(answers) > allowed * abs(answers[0]):
        return None
    return answers[0]


def table(analysis: Analysis, width: int) -> list[str]:
    """Lay out sentence, table, legend and what the table cannot hold."""
    if not analysis.passes:
        return ["No pass has run yet."]
    groups = _groups(analysis)
    if _room(groups, width) < GROUP_SPACES[-1] * (len(groups) - 1):
        groups = [group.narrowed() for group in groups]
    room = _room(groups, width)
    space = next((n for n in GROUP_SPACES if n * (len(groups) - 1) <= room), GROUP_SPACES[-1]) * " "
    margin = " " * MARGIN
    lines = wrap(_sentence(analysis), "", width)
    lines += ["", margin + space.join(group.title.ljust(group.width) for group in groups)]
    for index, k in enumerate(["k", *map(str, tried_steps(analysis))]):
        lines.append(k.rjust(K_WIDTH).ljust(MARGIN) + space.join(group.line(index) for group in groups))
    for index in range(max(len(group.labels) for group in groups)):
        lines.append(margin + space.join(group.label(index) for group in groups))
    if any(p.ratio is not None or p.grad_norm_ratio is not None for p in analysis.passes):
        lines.append(f"{margin}ratio, grad: this pass's loss, gradient norm / the right one")
    return [line.rstrip() for line in lines] + _footnotes(analysis, width)


def _room(groups: Sequence[Group], width: int) -> int:
    """Return the columns that are left between the groups."""
    return width - MARGIN - sum(group.width for group in groups)


def _sentence(analysis: Analysis) -> str:
    answer = right_answer(analysis)
    if answer is not None:
        scope = " for every k" if len(tried_steps(analysis)) > 1 else ""
        return f"First-step loss. The right answer is {figure(answer)}{scope}."
    if all(p.reference_loss is None for p in analysis.passes):
        return "First-step loss."
    if analysis.record.config.per_device_train_batch_size is not None:
        return "First-step loss. The right answer depends on k: a larger k takes more rows."
    return "First-step loss. The right answer differs between the passes."


def _groups(analysis: Analysis) -> list[Group]:
    flags, ks = tried_flags(analysis), tried_steps(analysis)
    differs = right_answer(analysis) is None and any(p.reference_loss is not None for p in analysis.passes)
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
    title = flag_title(analysis, flag)
    label = _column_label(finding)
    return Group(title, (titles, *rows), (label,) if label else ())


def _cells(figures: PassFigures | None, *, answer: bool) -> tuple[str, ...]:
    if figures is None:
        return ("not run", *(("",) if answer else ()), "", "")
    if figures.status == "failed":
        return ("failed", *(("",) if answer else ()), "", "")
    grad = figures.grad_norm_ratio
    if grad is None and figures.grad_norm is not None and not math.isfinite(figures.grad_norm):
        grad = figures.grad_norm
    right = (figure(figures.reference_loss),) if answer else ()
    return (figure(figures.reported_loss), *right, figure(figures.ratio), figure(grad))


def rule_label(match: Match | None) -> str:
    """Say in words which rule explains; empty where nothing could be matched."""
    if match is None:
        return ""
    if match.rule is not None:
        return match.rule.label
    return "too coarse to tell" if match.ambiguous else "no rule fits"


def _in_table(finding: FlagFinding) -> list[PassFinding]:
    """Return the passes that have a row; the tail of an epoch is a step of another kind."""
    return [p for p in finding.passes if p.forward is not None and not p.record.tail]


def _row_labels(finding: FlagFinding) -> list[str]:
    return [rule_label(p.forward) for p in _in_table(finding)]


def _column_label(finding: FlagFinding | None) -> str:
    """Return the rule that explains the whole column; empty where it takes one per row."""
    if finding is None or finding.forward is None:
        return ""
    if finding.forward.rule is not None:
        # One micro-batch a step is weighed rightly by most rules: that is no praise of the flag.
        alone = all(p.record.accumulation_steps == 1 for p in _in_table(finding))
        return f"= {finding.forward.rule.label}{' (at k=1)' if alone else ''}"
    return rule_label(finding.forward) if len(set(_row_labels(finding))) <= 1 else ""


def _footnotes(analysis: Analysis, width: int) -> list[str]:
    """Say what does not fit into the table: rules that differ by row, late NaNs, errors; each reason once."""
    notes: list[tuple[str, str]] = []
    for finding in analysis.findings:
        if finding.forward is not None and not _column_label(finding):
            rules = [f"k={p.record.accumulation_steps} {rule_label(p.forward)}" for p in _in_table(finding)]
            notes.append((f"flag {finding.flag}:", ", ".join(rules)))
    notes += tail_notes(analysis)
    late = [
        p for p in analysis.passes if p.nonfinite and p.reported_loss is not None and math.isfinite(p.reported_loss)
    ]
    if late:
        notes.append(("not finite in a later step:", name_passes(late)))
    reasons = dict.fromkeys(p.error or "unknown" for p in analysis.passes if p.status == "failed")
    for reason in reasons:
        failed = [p for p in analysis.passes if p.status == "failed" and (p.error or "unknown") == reason]
        notes.append((f"failed: {name_passes(failed)}:", shorten(clean(reason), ERROR_COLUMNS)))
    return [line for label, text in notes for line in wrap(f"{label} {text}", " " * MARGIN, width)]


def tail_notes(analysis: Analysis) -> list[tuple[str, str]]:
    """Say which rule explains the tail of an epoch, for each flag value under which one was tried."""
    notes = []
    for finding in analysis.findings:
        tails = [p for p in finding.passes if p.record.tail]
        if tails:
            label = f"end of an epoch at k={tails[0].record.accumulation_steps}, flag {finding.flag}:"
            notes.append((label, "; ".join(dict.fromkeys(map(_tail_rule, tails)))))
    return notes


def _tail_rule(finding: PassFinding) -> str:
    if finding.record.error is not None:
        return f"failed with {clean(finding.record.error.kind)}"
    rule = "not finite" if finding.nonfinite else rule_label(finding.forward) or NOT_MEASURED
    size = len(finding.step.micro_batches) if finding.step is not None else "?"
    return f"{size} of {finding.record.accumulation_steps} micro-batches, {rule}"


def num_passes(analysis: Analysis) -> tuple[int, int]:
    """Return how many passes have run and how many are planned, tails of an epoch included."""
    record, config = analysis.record, analysis.record.config
    per_flag = len(config.gradient_accumulation_steps) + config.short_last_step
    return len(record.passes) + len(record.tail_passes), per_flag * len(config.loss_kwargs)


def name_passes(passes: Sequence[PassFigures]) -> str:
    """Write `k=1, 2 on; k=4 off`."""
    groups = []
    for flag in FLAGS:
        ks = [str(p.accumulation_steps) for p in passes if p.loss_kwargs == flag]
        if ks:
            groups.append(f"k={', '.join(ks)} {flag}")
    return "; ".join(groups)
