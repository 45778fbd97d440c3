"""A comparison as JSON: its shape, a contract whose keys are only ever added, and how it is made.

Numbers that are not finite are null; so is what was not measured.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Literal, TypedDict

from gacheck.core.compare import Change, Figure, Kind, PassChange, Result, gradient_rule, loss_rule
from gacheck.core.figures import PassFigures
from gacheck.record.parts import SCHEMA_VERSION
from gacheck.reporters.document import OnOff, Status
from gacheck.rules.facts import Flag
from gacheck.rules.table import Severity
from gacheck.words.comparison import Comparison, Side

# A word that Python keeps for itself.
_Class = TypedDict("_Class", {"class": str})


class ComparedRecord(TypedDict):
    """One of the two records."""

    name: str
    """As it was typed."""
    environment: dict[str, str]
    """Versions and machine; of two runs also the options that may differ and do."""


class ComparedVerdict(TypedDict):
    """What a record says of a class."""

    verdict: str | None
    """The code that leads; null where there is no verdict."""
    codes: list[str]
    severity: Severity | None
    loss_kwargs: OnOff | None
    """The flag as the Trainer chose it; of an attached training what was in force."""
    ratio: float | None
    """The reported loss over the right one, at the largest k, with that flag."""
    reason: str | None
    """Why there is no verdict."""


class ComparedFigures(TypedDict):
    """A pass, in one of the records."""

    loss_kwargs: OnOff
    status: Status
    rule: str | None
    """Which explains the losses."""
    gradient_rule: str | None
    """Whose gradient it is."""
    ratio: float | None
    grad_norm_ratio: float | None


class ComparedPass(TypedDict):
    """A pass that is not what it was."""

    id: str
    accumulation_steps: int
    figures: list[Figure]
    """Which of them differ."""
    a: ComparedFigures | None
    """null where that record has no such pass."""
    b: ComparedFigures | None


class ComparedRow(_Class):
    """A class, or the one training."""

    task: str
    model_type: str | None
    change: Kind
    """What became of it."""
    a: ComparedVerdict | None
    """null where that record does not hold it."""
    b: ComparedVerdict | None
    passes: list[ComparedPass]
    """Those that differ; none where it is not judged in both."""


class ComparisonDocument(TypedDict):
    """Two records, compared."""

    kind: Literal["comparison"]
    schema_version: int
    of: Literal["run", "attach", "survey"]
    """The kind of both."""
    a: ComparedRecord
    b: ComparedRecord
    same_rows: bool
    """Whether ratios were compared: the same rows were fed in both."""
    result: Result
    """unjudged: nothing is known to be worse, and something has lost its verdict or nothing is judged in both."""
    counts: dict[str, int]
    """How many there are of each change."""
    rows: list[ComparedRow]
    """All of them, those that are the same too."""


def render_document(comparison: Comparison) -> str:
    """Render a comparison as JSON."""
    kinds: dict[str, Literal["run", "attach", "survey"]] = {"run": "run", "attach": "attach", "survey": "survey"}
    document: ComparisonDocument = {
        "kind": "comparison",
        "schema_version": SCHEMA_VERSION,
        "of": kinds[comparison.kind],
        "a": _record(comparison.a),
        "b": _record(comparison.b),
        "same_rows": comparison.same_rows,
        "result": comparison.result,
        "counts": {str(kind): number for kind, number in comparison.counts.items()},
        "rows": [_row(comparison, change) for change in comparison.changes],
    }
    return json.dumps(document, indent=1, allow_nan=False) + "\n"


def _record(side: Side) -> ComparedRecord:
    return {"name": side.name, "environment": dict(side.facts)}


def _row(comparison: Comparison, change: Change) -> ComparedRow:
    subject = comparison.subject(change)
    return {
        "class": subject.name,
        "task": subject.task,
        "model_type": subject.model_type,
        "change": change.kind,
        "a": _verdict(comparison.a, change, first=True),
        "b": _verdict(comparison.b, change, first=False),
        "passes": _passes(change.passes),
    }


def _verdict(side: Side, change: Change, *, first: bool) -> ComparedVerdict | None:
    if change.name not in side.subjects:
        return None
    found = change.a if first else change.b
    return {
        "verdict": found.code if found else None,
        "codes": list(found.codes) if found else [],
        "severity": found.severity if found else None,
        "loss_kwargs": _word(found.flag) if found and found.flag else None,
        "ratio": found.ratio if found else None,
        "reason": side.subjects[change.name].reason,
    }


def _passes(changes: Sequence[PassChange]) -> list[ComparedPass]:
    return [
        {
            "id": each.name,
            "accumulation_steps": each.known.accumulation_steps,
            "figures": list(each.figures),
            "a": _figures(each.a),
            "b": _figures(each.b),
        }
        for each in changes
    ]


def _figures(figures: PassFigures | None) -> ComparedFigures | None:
    if figures is None:
        return None
    rule, of_gradient = loss_rule(figures), gradient_rule(figures)
    norm = figures.grad_norm_ratio
    return {
        "loss_kwargs": _word(figures.loss_kwargs),
        "status": figures.status,
        "rule": rule.name if rule else None,
        "gradient_rule": of_gradient.name if of_gradient else None,
        "ratio": figures.ratio,
        "grad_norm_ratio": norm if norm is not None and math.isfinite(norm) else None,
    }


def _word(flag: Flag) -> OnOff:
    return "on" if flag.is_on else "off"
