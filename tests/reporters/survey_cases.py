"""Surveys of every kind that a reporter may be handed; `RECORDS` of `cases.py` are the trainings."""

from __future__ import annotations

from gacheck.record.survey import SurveyRecord, SurveyRow
from tests.reporters.cases import HOSTILE
from tests.surveys import (
    BERT,
    GEMMA3,
    GEMMA3_TEXT,
    KOSMOS,
    LLAMA,
    MIDDLE,
    NEMOTRON,
    NEW,
    OLD,
    T5,
    Kind,
    judged,
    survey,
    unjudged,
)

HUNG = "its time ran out after 60 s"
NO_PACKAGE = "the package timm is missing; install it with  pip install timm"


def rows_of(release: str) -> list[SurveyRow]:
    """Return what a survey of a release shows: Gemma3 wrong in the first, better in the second, right in the last."""
    gemma3 = {OLD: ("sum_of_means", True), MIDDLE: ("sum_of_means", False), NEW: ("token_mean", True)}
    llama = {OLD: "unshifted_token_mean", MIDDLE: "unshifted_token_mean", NEW: "token_mean"}
    on, auto = gemma3[release]
    rows = [
        judged(GEMMA3, on, release=release, auto=auto),
        judged(GEMMA3_TEXT, on, release=release, auto=auto),
        judged(LLAMA, llama[release], release=release),
        judged(T5, "mean_of_means", release=release, auto=False),
        judged(BERT, "token_mean", release=release, seconds=0.8),
        unjudged(KOSMOS, HUNG, release=release, seconds=60.0),
    ]
    return rows if release == OLD else [*rows, unjudged(NEMOTRON, NO_PACKAGE, release=release)]


def many(number: int) -> list[SurveyRow]:
    """Return so many classes; every seventh is scaled by k, every fifth weighs short micro-batches too much."""
    rows = []
    for i in range(number):
        kind = Kind(f"model_{i:03d}", f"Model{i:03d}ForCausalLM", f"model_{i:03d}")
        rule = "sum_of_means" if i % 7 == 3 else "mean_of_means" if i % 5 == 2 else "token_mean"
        rows.append(judged(kind, rule))
    return rows


_EVIL = Kind(HOSTILE, HOSTILE, HOSTILE)

SURVEYS: dict[str, SurveyRecord] = {
    "mixed": survey(rows_of(MIDDLE)),
    "releases": survey([row for release in (OLD, MIDDLE, NEW) for row in rows_of(release)]),
    "right": survey([judged(each, "token_mean") for each in (GEMMA3, LLAMA, BERT)]),
    "partial": survey(rows_of(NEW)[:3], missing=[T5.item(), BERT.item()]),
    "nothing": survey([], missing=[GEMMA3.item(), LLAMA.item()]),
    "empty": survey([]),
    "none judged": survey([unjudged(GEMMA3, HUNG), unjudged(LLAMA, NO_PACKAGE)]),
    "failed": survey([judged(GEMMA3, "failed"), judged(LLAMA, "token_mean", "failed"), judged(T5, "failed", "failed")]),
    "many": survey(many(40)),
    "hostile": survey([judged(_EVIL, "sum_of_means"), unjudged(Kind("evil", HOSTILE, HOSTILE), HOSTILE)]),
}
