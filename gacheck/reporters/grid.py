"""The grid that every format shows: a row a k, a group of cells a value of the flag, and what no cell can hold.

A cell is written here once, so that no two formats differ in what they call a failed pass or one that has yet to run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from gacheck.core.figures import PassFigures, StepFigures, shared_answer
from gacheck.core.finding import FlagFinding
from gacheck.reporters.text import NOT_MEASURED, clean, figure
from gacheck.rules.facts import Flag
from gacheck.rules.matching import Match
from gacheck.words.analysis import Analysis

FLAGS = (Flag.ON, Flag.OFF)

# Enough to recognise an error by; the whole message is in the JSON.
ERROR_COLUMNS = 200

# Nobody tells more curves from each other.
MOST_DRAWN = 8


def tried_flags(analysis: Analysis) -> list[Flag]:
    """Return the flag values that have a pass, on first."""
    return [flag for flag in FLAGS if any(p.loss_kwargs == flag for p in ran(analysis))]


def tried_steps(analysis: Analysis) -> list[int]:
    """Return the k that have a pass."""
    return sorted({p.accumulation_steps for p in ran(analysis)})


def drawn_steps(analysis: Analysis) -> list[int]:
    """Return the k whose passes a picture can show beside each other: all, or some from the smallest to the largest."""
    ks = tried_steps(analysis)
    last = len(ks) - 1
    return ks if len(ks) <= MOST_DRAWN else [ks[i * last // (MOST_DRAWN - 1)] for i in range(MOST_DRAWN)]


def ran(analysis: Analysis) -> list[PassFigures]:
    """Return the passes that are recorded, well or failed, without tails."""
    return [p for p in analysis.passes if p.ran]


def failed(analysis: Analysis) -> dict[str, list[PassFigures]]:
    """Return the passes that failed, tails too, by the reason."""
    reasons: dict[str, list[PassFigures]] = {}
    for p in analysis.passes:
        if p.status == "failed":
            reasons.setdefault(p.error or "unknown", []).append(p)
    return reasons


def is_default(analysis: Analysis, flag: Flag) -> bool:
    """Return whether the Trainer chooses this value itself."""
    return analysis.flag.auto is flag


def flag_title(analysis: Analysis, flag: Flag) -> str:
    """Name a value of the flag, and say of the one that the Trainer chooses itself that it does."""
    is_chosen = is_default(analysis, flag) and analysis.attached is None
    return f"flag {flag}{' (default)' if is_chosen else ''}"


def find_pass(analysis: Analysis, k: int, flag: Flag) -> PassFigures | None:
    """Return the pass at one (k, flag), if it is recorded."""
    return next((p for p in ran(analysis) if (p.accumulation_steps, p.loss_kwargs) == (k, flag)), None)


def right_answer(analysis: Analysis, k: int | None = None) -> float | None:
    """Return the right answer, at one k or at all of them, if the passes have the same one; else None."""
    passes = [p for p in analysis.passes if k in (None, p.accumulation_steps)]
    return shared_answer(passes, analysis.tolerance.loss)


def right_cell(analysis: Analysis, k: int) -> str:
    """Write the right answer at k, for each flag value where they pursue different objectives."""
    shared = right_answer(analysis, k)
    if shared is not None:
        return figure(shared)
    known = [(flag, p.reference_loss) for flag in FLAGS if (p := find_pass(analysis, k, flag)) is not None]
    answers = [f"{flag} {figure(answer)}" for flag, answer in known if answer is not None]
    return ", ".join(answers) or NOT_MEASURED


def has_answer(analysis: Analysis) -> bool:
    """Return whether the right answer is known for some pass."""
    return any(p.reference_loss is not None for p in analysis.passes)


def grad_cell(figures: PassFigures) -> float | None:
    """Return the gradient's norm over the right one; of a gradient that is not finite its norm."""
    grad = figures.grad_norm_ratio
    if grad is None and figures.grad_norm is not None and not math.isfinite(figures.grad_norm):
        return figures.grad_norm
    return grad


def pass_cells(figures: PassFigures | None) -> tuple[str, str, str]:
    """Write loss, ratio and grad of a pass; of one that failed or has not run the first cell says so."""
    if figures is None or figures.status != "ok":
        return ("not run" if figures is None or not figures.ran else figures.status, "", "")
    return (figure(figures.reported_loss), figure(figures.ratio), figure(grad_cell(figures)))


def rule_label(match: Match | None) -> str:
    """Say in words which rule explains; empty where nothing could be matched."""
    if match is None:
        return ""
    if match.rule is not None:
        return match.rule.label
    return "too coarse to tell" if match.ambiguous else "no rule fits"


def rule_name(match: Match | None) -> str | None:
    """Return the name of the rule that explains, as programs read it."""
    return match.rule.name if match and match.rule else None


def rule_cell(figures: PassFigures | None) -> str:
    """Say in words which rule explains a pass; empty where it did not end well."""
    if figures is None or figures.status != "ok":
        return ""
    return "not finite" if figures.nonfinite else rule_label(figures.forward) or NOT_MEASURED


def judged_passes(analysis: Analysis, finding: FlagFinding) -> list[PassFigures]:
    """Return the passes at a value of the flag whose losses were held against the rules."""
    return [p for p in ran(analysis) if p.loss_kwargs == finding.flag and p.forward is not None]


def tail_notes(analysis: Analysis) -> list[tuple[str, str]]:
    """Say of the tails of an epoch, which have no row, which rule explains them."""
    return [
        (f"end of an epoch at k={tail.accumulation_steps}, flag {tail.loss_kwargs}:", _tail(tail))
        for tail in analysis.tails
        if tail.ran
    ]


def _tail(tail: PassFigures) -> str:
    if tail.status == "failed":
        return f"failed with {clean(tail.error_kind or 'unknown')}"
    judged = [step for step in tail.steps if step.reference_loss is not None] or list(tail.steps[:1])
    return "; ".join(dict.fromkeys(_tail_step(tail, step) for step in judged))


def _tail_step(tail: PassFigures, step: StepFigures) -> str:
    rule = "not finite" if tail.nonfinite else rule_label(step.forward) or NOT_MEASURED
    size = step.num_micro_batches if step.reference_loss is not None else "?"
    return f"{size} of {tail.accumulation_steps} micro-batches, {rule}"


def num_passes(analysis: Analysis) -> tuple[int, int]:
    """Return how many passes have run and how many are planned, tails of an epoch included."""
    return len(analysis.record.recorded), len(analysis.record.planned)


def name_passes(passes: Sequence[PassFigures]) -> str:
    """Write `k=1, 2 on; k=4 off`."""
    groups = []
    for flag in FLAGS:
        ks = [str(p.accumulation_steps) for p in passes if p.loss_kwargs == flag]
        if ks:
            groups.append(f"k={', '.join(ks)} {flag}")
    return "; ".join(groups)
