"""The analysis as CSV, for spreadsheets and data frames: one row per pass and optimizer step.

Every pass of the plan has rows, tails of an epoch too. What belongs to the run or the pass stands in each of them; what
is known of the first step only stands there alone. A pass that failed or was skipped has one row without a step.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator

from gacheck.core.figures import PassFigures, StepFigures
from gacheck.reporters.grid import rule_name
from gacheck.reporters.reporter import TRAININGS, Reporter
from gacheck.reporters.text import clean
from gacheck.words.analysis import Analysis

Cell = str | int | float | None

COLUMNS = (
    "model",
    "class",
    "transformers",
    "verdict",
    "run_complete",
    "pass",
    "accumulation_steps",
    "loss_kwargs",
    "status",
    "error",
    "nonfinite",
    "rule",
    "backward_rule",
    "heldout_loss",
    "step",
    "reported_loss",
    "grad_norm",
    "reference_loss",
    "ratio",
    "grad_norm_ratio",
)

# A spreadsheet reads what begins so as a formula, which may fetch and send; the wide ones count as well in some.
FORMULA_STARTS = ("=", "+", "-", "@", "＝", "＋", "－", "＠")


def render_csv(analysis: Analysis) -> str:
    """Render the rows below a header; numbers in full precision, those that are not finite as empty cells."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in _rows(analysis):
        writer.writerow([_finite(row.get(column)) for column in COLUMNS])
    return buffer.getvalue()


def _finite(cell: Cell) -> Cell:
    return None if isinstance(cell, float) and not math.isfinite(cell) else cell


def _truth(value: bool) -> str:
    return "true" if value else "false"


def guard(text: str) -> str:
    """Make text from outside harmless: one line, and no formula."""
    text = clean(text)
    return f"'{text}" if text.lstrip().startswith(FORMULA_STARTS) else text


def _rows(analysis: Analysis) -> Iterator[dict[str, Cell]]:
    run = _run_cells(analysis)
    for figures in (*analysis.passes, *analysis.tails):
        cells = run | _pass_cells(figures)
        if not figures.steps:
            yield cells
        for step in figures.steps:
            yield cells | _step_cells(figures, step)


def _run_cells(analysis: Analysis) -> dict[str, Cell]:
    record = analysis.record
    return {
        "model": guard(record.model.name),
        "class": guard(record.model.class_name),
        "transformers": guard(record.environment.packages.get("transformers", "")),
        "verdict": analysis.verdict.code,
        "run_complete": _truth(record.complete),
    }


def _pass_cells(figures: PassFigures) -> dict[str, Cell]:
    return {
        "pass": guard(figures.id),
        "accumulation_steps": figures.accumulation_steps,
        "loss_kwargs": str(figures.loss_kwargs),
        "status": figures.status,
        "error": guard(figures.error or ""),
        "nonfinite": _truth(figures.nonfinite) if figures.ran else None,
        "rule": rule_name(figures.forward),
        "backward_rule": rule_name(figures.backward),
        "heldout_loss": figures.heldout_loss,
    }


def _step_cells(figures: PassFigures, step: StepFigures) -> dict[str, Cell]:
    cells: dict[str, Cell] = {
        "step": step.step,
        "reported_loss": step.reported_loss,
        "grad_norm": step.grad_norm,
        "reference_loss": step.reference_loss,
        "ratio": step.ratio,
    }
    if step is figures.steps[0]:
        cells["grad_norm_ratio"] = figures.grad_norm_ratio
    if figures.tail:
        # Every step of a tail is another, and judged by itself.
        cells |= {"rule": rule_name(step.forward), "backward_rule": rule_name(step.backward)}
    return cells


REPORTERS = (Reporter("csv", ".csv", False, TRAININGS, lambda analysis, view: render_csv(analysis).encode()),)
