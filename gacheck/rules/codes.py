"""The verdict codes, their severity and their order: part of the JSON contract."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

Severity = Literal["ok", "warn", "inconclusive", "fail"]

SEVERITY: dict[str, Severity] = {
    "NONFINITE": "fail",
    "LOSS_KWARGS_REJECTED": "fail",
    "UNEXPLAINED": "fail",
    "SCALED_BY_ACCUMULATION": "fail",
    "WORLD_SIZE_SCALED": "fail",
    "DIVIDED_TWICE": "fail",
    "MISALIGNED_COUNT": "fail",
    "AUX_LOSS_SCALED": "fail",
    "SHORT_LAST_STEP": "fail",
    "INCONCLUSIVE": "inconclusive",
    "MEAN_OF_MEANS": "warn",
    "UNSHIFTED_TOKEN_COUNT": "warn",
    "OTHER_OBJECTIVE": "ok",
    "OK": "ok",
}
"""Gravest first."""

SEVERITY_RANK: dict[Severity, int] = {"ok": 0, "warn": 1, "inconclusive": 2, "fail": 3}

_ORDER = {code: place for place, code in enumerate(SEVERITY)}


def gravest_first(codes: Iterable[str]) -> tuple[str, ...]:
    """Sort codes; the first leads the verdict."""
    return tuple(sorted(codes, key=_ORDER.__getitem__))


def severity_of(code: str) -> Severity:
    """Return the severity of a code."""
    return SEVERITY[code]
