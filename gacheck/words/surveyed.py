"""A class under every release of a survey: since when it is wrong, what to do, and which classes share one fault."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from gacheck.record.command import Command, shown_command
from gacheck.record.run import RunRecord
from gacheck.rules.facts import Flag
from gacheck.rules.table import SEVERITY, SEVERITY_RANK, Severity, severity_of
from gacheck.words.faults.fault import LEFT_OVER
from gacheck.words.releases import parsed
from gacheck.words.survey import JudgedRow, SurveyAnalysis

NO_VERDICT = "no verdict"
NO_TASK = "no auto class"
"""Stands for the task of a class that no auto class makes."""

# Where the fault stands is said of every class by itself; what to do is said once.
_PLACE = re.compile(r" \([^()\s]+\.py:\d+\)")
_SURE = re.compile(r" This arithmetic fits [^.]*\.$")
_ABOVE = re.compile(r"\b(Tried|See) above\b")
_TRIED = "Tried: the loss is then right."


@dataclass(frozen=True)
class Surveyed:
    """A class under all releases that were asked about it.

    Attributes:
        rows: One for each of these releases, the oldest first.
    """

    rows: tuple[JudgedRow, ...]

    @property
    def name(self) -> str:
        """Its class in the newest release that has it; what was asked for where none has."""
        return next((row.class_name for row in reversed(self.rows) if row.class_name), self.rows[-1].item.name)

    @property
    def task(self) -> str:
        """What it is trained for."""
        return self.rows[-1].item.task or NO_TASK

    @property
    def latest(self) -> JudgedRow:
        """Its row in the newest release that has a verdict on it; in the newest at all where none has."""
        return next((row for row in reversed(self.rows) if row.analysis is not None), self.rows[-1])

    def latest_with(self, code: str) -> JudgedRow:
        """Return its row in the newest release in which it has this verdict."""
        return next(row for row in reversed(self.rows) if row.code == code)


@dataclass(frozen=True)
class Advice:
    """What to do: a line of code and where to put it, both empty where there is none, and a sentence."""

    code: str
    place: str
    text: str


@dataclass(frozen=True)
class FaultGroup:
    """Classes of one task with one verdict, for one reason, in the same releases.

    Attributes:
        flag: As the Trainer chooses it: so they are affected by default.
        other_code: The verdict with the other value of the flag; None where that was not measured.
        since: In which releases they have it, and what they have in the others.
        advice: What to do.
        rows: Of every class, that in the newest of these releases.
    """

    code: str
    severity: Severity
    task: str
    flag: Flag | None
    other_code: str | None
    since: str
    advice: Advice
    rows: tuple[JudgedRow, ...]

    @property
    def why(self) -> str:
        """The cause, as it is of the first of them, without the place that is of that class alone."""
        return why_of(self.rows[0])


def releases_of(analysis: SurveyAnalysis) -> tuple[str, ...]:
    """Return the releases of a survey, the oldest first."""
    return tuple(sorted(analysis.record.releases, key=parsed))


def surveyed(analysis: SurveyAnalysis) -> tuple[Surveyed, ...]:
    """Gather the rows of every class, in the order of the plan."""
    found: dict[tuple[str, str], list[JudgedRow]] = {}
    for row in analysis.rows:
        found.setdefault((row.item.name, row.item.task), []).append(row)
    return tuple(
        Surveyed(tuple(sorted(rows, key=lambda row: parsed(row.item.transformers)))) for rows in found.values()
    )


def advice_of(row: JudgedRow) -> Advice:
    """Say what to do about a verdict, without the numbers and places that are of this class alone."""
    if row.analysis is None or row.severity == "ok":
        return Advice("", "", "Nothing.")
    verdict = row.analysis.verdict
    if verdict.better_flag is not None and verdict.words.remedy.trainer is not None:
        code, _, place = verdict.words.remedy.trainer.partition("#")
        left = LEFT_OVER.get(verdict.remaining, verdict.remaining) if verdict.remaining else None
        return Advice(code.strip(), place.strip(), f"Tried; still wrong after that: {left}." if left else _TRIED)
    text = _ABOVE.sub(r"\1", " ".join(verdict.words.fix.splitlines()))
    return Advice("", "", _PLACE.sub("", text))


def why_of(row: JudgedRow) -> str:
    """Give the cause of a verdict, without the place and the certainty that are of this class alone."""
    return _SURE.sub("", _PLACE.sub("", row.analysis.verdict.words.cause)) if row.analysis else ""


def other_code(row: JudgedRow) -> str | None:
    """Return the verdict with the value of the flag that the Trainer does not choose; None where it is not known."""
    auto = row.analysis.flag.auto if row.analysis else None
    findings = row.analysis.findings if row.analysis else ()
    return next((each.codes[0] for each in findings if each.flag is not auto), None) if auto else None


def wrong_with_flag_on(row: JudgedRow) -> str | None:
    """Return the graver verdict that a class has once somebody sets the flag which the Trainer leaves off."""
    code = other_code(row)
    if row.analysis is None or row.analysis.flag.auto is not Flag.OFF or code is None or row.severity is None:
        return None
    return code if SEVERITY_RANK[severity_of(code)] > SEVERITY_RANK[row.severity] else None


def command_of(row: JudgedRow, analysis: SurveyAnalysis) -> Command:
    """Return the command that shows the verdict of a row."""
    training = row.analysis.record if row.analysis else None
    task = training.config.task if isinstance(training, RunRecord) else None
    return shown_command(row.item, task, analysis.record.environment.packages.get("transformers"))


def since(code: str, rows: Sequence[JudgedRow]) -> str:
    """Say under which of the surveyed releases a class has a verdict, and what it has under the others.

    Args:
        code: The verdict.
        rows: Of the class, the oldest release first.
    """
    having = [row.item.transformers for row in rows if row.code == code]
    others = [(row.item.transformers, row.code or NO_VERDICT) for row in rows if row.code != code]
    told = f" ({'; '.join(f'{release}: {found}' for release, found in others)})" if others else ""
    before = [row for row in rows[: -len(having)] if row.analysis is not None]
    is_new = before and all(row.code == code for row in rows[-len(having) :])
    return f"since {having[0]}{told}" if is_new else f"in {listed(having)}{told}"


def listed(words: Sequence[str]) -> str:
    """Write a list as one does in a sentence."""
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else "".join(words)


def fault_groups(analysis: SurveyAnalysis) -> tuple[FaultGroup, ...]:
    """Group what is wrong: the gravest code first, within it what the newest release still shows."""
    found: dict[FaultGroup, list[JudgedRow]] = {}
    for each in surveyed(analysis):
        for code in dict.fromkeys(row.code for row in each.rows if row.severity not in ("ok", None)):
            assert code is not None
            row = each.latest_with(code)
            found.setdefault(_group(code, row, each), []).append(row)
    groups = [FaultGroup(**{**vars(group), "rows": _by_name(rows)}) for group, rows in found.items()]
    return tuple(sorted(groups, key=_place_of))


def _group(code: str, row: JudgedRow, each: Surveyed) -> FaultGroup:
    assert row.severity is not None
    auto = row.analysis.flag.auto if row.analysis else None
    return FaultGroup(
        code, row.severity, each.task, auto, other_code(row), since(code, each.rows), advice_of(row), rows=()
    )


def _by_name(rows: Iterable[JudgedRow]) -> tuple[JudgedRow, ...]:
    return tuple(sorted(rows, key=lambda row: (row.class_name or "", row.item.name)))


_ORDER = {code: place for place, code in enumerate(SEVERITY)}


def _place_of(group: FaultGroup) -> tuple[object, ...]:
    newest = max(parsed(row.item.transformers) for row in group.rows)
    return _ORDER[group.code], -SEVERITY_RANK[group.severity], [-each for each in newest], -len(group.rows), group.task


def right_groups(analysis: SurveyAnalysis) -> Mapping[tuple[str, ...], tuple[str, ...]]:
    """Return which classes are right under which releases: releases → names."""
    found: dict[tuple[str, ...], set[str]] = {}
    for each in surveyed(analysis):
        right = [row for row in each.rows if row.severity == "ok"]
        if right:
            releases = tuple(row.item.transformers for row in right)
            found.setdefault(releases, set()).add(right[-1].class_name or each.name)
    ordered = sorted(found, key=lambda releases: (len(releases), list(map(parsed, releases))), reverse=True)
    return {releases: tuple(sorted(found[releases])) for releases in ordered}


def unjudged_groups(analysis: SurveyAnalysis) -> Mapping[str, tuple[str, ...]]:
    """Return why some have no verdict: reason → names, each with its releases."""
    found: dict[str, dict[str, list[str]]] = {}
    for each in surveyed(analysis):
        for row in each.rows:
            if row.reason is not None:
                found.setdefault(row.reason, {}).setdefault(each.name, []).append(row.item.transformers)
    return {
        reason: tuple(f"{name} ({', '.join(releases)})" for name, releases in sorted(names.items()))
        for reason, names in sorted(found.items(), key=lambda item: -len(item[1]))
    }
