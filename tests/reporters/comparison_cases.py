"""Pairs of records, compared: every kind of change on the terminal, as JSON and as Markdown."""

from __future__ import annotations

from gacheck.record.kinds import AnyTrainingRecord
from gacheck.record.survey import SurveyRecord, SurveyRow
from gacheck.words.analysis import analyse
from gacheck.words.comparison import Comparison, Side, compare_sides, read_release, read_training
from gacheck.words.survey import read_survey
from tests.builders import full_run
from tests.reporters.cases import HOSTILE, RECORDS
from tests.reporters.survey_cases import SURVEYS, many, rows_of
from tests.surveys import GEMMA3, LLAMA, MIDDLE, NEW, OLD, Kind, judged, survey, unjudged


def training(record: AnyTrainingRecord, name: str) -> Side:
    return read_training(name, analyse(record))


def release(record: SurveyRecord, name: str = "survey") -> Side:
    """Read the only release of a survey, or the newest."""
    chosen = record.releases[-1]
    return read_release(f"{name}@{chosen}", read_survey(record), chosen)


def trainings(a: AnyTrainingRecord, b: AnyTrainingRecord) -> Comparison:
    return compare_sides(training(a, "gacheck-runs/before"), training(b, "gacheck-runs/after"))


def surveys(a: list[SurveyRow], b: list[SurveyRow]) -> Comparison:
    return compare_sides(release(survey(a), "before"), release(survey(b), "after"))


def moved(rows: list[SurveyRow]) -> list[SurveyRow]:
    """Let the ratio of every class be another under the same verdict: there is no other flag to fall back on."""
    return [
        judged(Kind(row.item.name, str(row.item.class_name), str(row.item.model_type)), "token_mean", "sum_of_means")
        for row in rows
    ]


_EVIL = Kind(HOSTILE, HOSTILE, HOSTILE)

COMPARISONS: dict[str, Comparison] = {
    "fixed": trainings(RECORDS["scaled"], RECORDS["right"]),
    "regressed": trainings(RECORDS["right"], RECORDS["scaled"]),
    "other choice": trainings(RECORDS["scaled"], RECORDS["scaled off"]),
    "other choice, other rule": trainings(RECORDS["right"], full_run("mean_of_means", "token_mean", auto=False)),
    "lost": trainings(RECORDS["right"], RECORDS["all failed"]),
    "never judged": trainings(RECORDS["all failed"], RECORDS["all failed"]),
    "refused": trainings(RECORDS["scaled"], RECORDS["refused"]),
    "strange gradient": trainings(RECORDS["right"], RECORDS["strange gradient"]),
    "attached": trainings(RECORDS["attached"], RECORDS["attached, flag set"]),
    "hostile run": trainings(RECORDS["hostile"], RECORDS["hostile"]),
    "the same": trainings(RECORDS["scaled"], RECORDS["scaled"]),
    "releases": surveys(rows_of(OLD), rows_of(MIDDLE)),
    "releases back": surveys(rows_of(MIDDLE), rows_of(OLD)),
    "newest": surveys(rows_of(MIDDLE), rows_of(NEW)),
    "interrupted": compare_sides(release(survey(rows_of(NEW))), release(SURVEYS["partial"])),
    "none in both": surveys([unjudged(GEMMA3, "no time"), judged(LLAMA, "token_mean")], [judged(GEMMA3, "token_mean")]),
    "many": surveys(many(40), moved(many(40))),
    "many worse": surveys(
        moved(many(40)), [judged(Kind(f"model_{i:03d}", f"M{i}", "m"), "sum_of_means") for i in range(40)]
    ),
    "hostile": surveys([judged(_EVIL, "token_mean")], [judged(_EVIL, "sum_of_means"), unjudged(LLAMA, HOSTILE)]),
}
