"""The rows of the page's tables; their cells are those of every format."""

from __future__ import annotations

import math
from dataclasses import dataclass

from gacheck.core.figures import PassFigures
from gacheck.reporters.grid import (
    failed,
    find_pass,
    flag_title,
    grad_cell,
    name_passes,
    pass_cells,
    ran,
    right_cell,
    rule_cell,
    rule_label,
    tail_notes,
    tried_flags,
    tried_steps,
)
from gacheck.reporters.text import NOT_MEASURED, figure
from gacheck.words.analysis import Analysis

# More rows would be scrolled over, not read; the pictures have all steps.
MOST_STEPS = 100


@dataclass(frozen=True)
class FirstStepTable:
    """A row a k: k, the right answer, and loss, ratio, grad and rule for every value of the flag."""

    flags: tuple[str, ...]
    rows: tuple[tuple[str, str, tuple[str, ...]], ...]


@dataclass(frozen=True)
class StepsTable:
    """A row a step: flag, step, loss, right answer, ratio, rules of loss and gradient; and how many have none."""

    rows: tuple[tuple[str, ...], ...]
    num_left_out: int


def first_step_table(analysis: Analysis) -> FirstStepTable:
    """Lay out the first step at every k, flag on and off beside each other."""
    flags = tried_flags(analysis)
    rows = []
    for k in tried_steps(analysis):
        passes = [find_pass(analysis, k, flag) for flag in flags]
        cells = tuple(cell for figures in passes for cell in (*pass_cells(figures), rule_cell(figures)))
        rows.append((str(k), right_cell(analysis, k), cells))
    return FirstStepTable(tuple(flag_title(analysis, flag) for flag in flags), tuple(rows))


def steps_table(analysis: Analysis) -> StepsTable:
    """Lay out the steps of an attached training; what was tried at the other value of the flag stands below."""
    rows = [
        (
            f"{p.loss_kwargs}{'' if index == 0 else ' (tried)'}",
            str(s.step),
            figure(s.reported_loss),
            figure(s.reference_loss),
            figure(s.ratio),
            rule_label(s.forward) or NOT_MEASURED,
            rule_label(s.backward) or "not seen",
        )
        for index, p in enumerate(ran(analysis))
        for s in p.steps
    ]
    return StepsTable(tuple(rows[:MOST_STEPS]), len(rows[MOST_STEPS:]))


def gradient_table(analysis: Analysis) -> list[tuple[str, ...]]:
    """Lay out what reached the parameters: k, flag, norm ratio, cosine, worst parameter, rule; a row a pass."""
    return [
        (
            str(p.accumulation_steps),
            str(p.loss_kwargs),
            figure(grad_cell(p)),
            figure(p.grad_cosine),
            p.worst_parameter or ("none" if p.gradient is not None else NOT_MEASURED),
            rule_label(p.backward) or NOT_MEASURED,
        )
        for p in sorted(ran(analysis), key=lambda p: (p.accumulation_steps, not p.loss_kwargs.is_on))
        if p.status == "ok"
    ]


def remarks(analysis: Analysis) -> list[tuple[str, str]]:
    """Say what no table holds: tails of an epoch, what is not finite later, and passes that failed or have not run."""
    said = tail_notes(analysis)
    late = [p for p in analysis.passes if p.nonfinite and math.isfinite(p.reported_loss or math.nan)]
    if late:
        said.append(("not finite in a later step:", name_passes(late)))
    for reason, passes in failed(analysis).items():
        said.append((f"failed, {_name(passes)}:", reason))
    skipped = [p for p in (*analysis.passes, *analysis.tails) if not p.ran]
    if skipped:
        said.append(("not run:", _name(skipped)))
    return said


def _name(passes: list[PassFigures]) -> str:
    """Name passes, those of a tail apart."""
    whole, tails = ([p for p in passes if p.tail is tail] for tail in (False, True))
    ends = f"end of an epoch at {name_passes(tails)}" if tails else ""
    return "; ".join(filter(None, (name_passes(whole), ends)))


def codes_by_flag(analysis: Analysis) -> list[tuple[str, str]]:
    """Return every value of the flag that was tried, and all codes found there."""
    return [(flag_title(analysis, f.flag), ", ".join(f.codes)) for f in analysis.findings]
