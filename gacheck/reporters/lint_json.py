"""What was read of classes, as JSON: the contract for other programs. Keys are only ever added."""

from __future__ import annotations

import json
from typing import Literal, TypedDict

from gacheck.lint.finding import Answer, Effect, Finding, LintReport
from gacheck.record.parts import SCHEMA_VERSION
from gacheck.rules.facts import CodeLocation

# A word that Python keeps for itself.
_Class = TypedDict("_Class", {"class": str})


class LintLine(TypedDict):
    """A line of code."""

    file: str
    line: int
    function: str


class LintedClass(_Class):
    """What was read of a class."""

    model_type: str | None
    """The folder of transformers in which it stands; null of a file of the user's own."""
    file: str
    answer: Answer
    """Whether num_items_in_batch gets into the loss."""
    effect: Effect
    """What that means by default."""
    flag: bool | None
    """What the Trainer sets model_accepts_loss_kwargs to; null where that cannot be read."""
    declared: bool | None
    takes_kwargs: bool
    counted: bool
    """Whether the Trainer counts the labels of this class."""
    trail: list[LintLine]
    """From forward's line to the one that divides by the count, or that computes the loss without it."""
    apart: list[LintLine]
    """Losses for other kinds of labels that are computed without the count."""
    why: str | None


class LintDocument(TypedDict):
    """What was read."""

    kind: Literal["lint"]
    schema_version: int
    transformers: str | None
    rows: list[LintedClass]


def render_lint_json(report: LintReport) -> str:
    """Render the document."""
    document: LintDocument = {
        "kind": "lint",
        "schema_version": SCHEMA_VERSION,
        "transformers": report.transformers,
        "rows": [_row(each) for each in report.findings],
    }
    return json.dumps(document, indent=1) + "\n"


def _row(finding: Finding) -> LintedClass:
    return {
        "class": finding.class_name,
        "model_type": finding.model_type,
        "file": finding.file,
        "answer": finding.answer,
        "effect": finding.effect,
        "flag": finding.flag,
        "declared": finding.declared,
        "takes_kwargs": finding.takes_kwargs,
        "counted": finding.counted,
        "trail": [_line(each) for each in finding.trail],
        "apart": [_line(each) for each in finding.apart],
        "why": finding.why or None,
    }


def _line(line: CodeLocation) -> LintLine:
    return {"file": line.file, "line": line.line, "function": line.function}
