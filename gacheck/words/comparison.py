"""Two records, read and held against each other: what became of each class, or of the one training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from gacheck.core.comparable import Difference, compared, rows_of, unlike
from gacheck.core.compare import KINDS, Change, Judgement, Kind, Result, compare, result_of
from gacheck.core.figures import PassFigures
from gacheck.record.attach import AttachRecord
from gacheck.words.analysis import Analysis
from gacheck.words.survey import JudgedRow, SurveyAnalysis


@dataclass(frozen=True)
class Subject:
    """Something that was to be judged in either record.

    Attributes:
        name: Its class; of one that is not known what a survey was told.
        task: What it is trained for.
        model_type: None where that is not known.
        reason: Why there is no verdict; None where there is one.
        analysis: None where there was no training.
    """

    name: str
    task: str
    model_type: str | None
    reason: str | None
    analysis: Analysis | None


@dataclass(frozen=True)
class Side:
    """One of the two records.

    Attributes:
        name: As it was typed.
        kind: Of the record.
        facts: Versions and machine, and what else may differ, by name.
        subjects: What it holds, by what it is joined on.
    """

    name: str
    kind: str
    facts: Mapping[str, str]
    subjects: Mapping[str, Subject] = field(repr=False)


@dataclass(frozen=True)
class Comparison:
    """Two records, compared.

    Attributes:
        changes: One for each thing in either, in the order of the second record.
    """

    a: Side
    b: Side
    changes: tuple[Change, ...]

    @property
    def kind(self) -> str:
        """What kind of records they are."""
        return self.b.kind

    @property
    def same_rows(self) -> bool:
        """Whether the ratios could be compared: all trainings were fed the same rows in both."""
        return all(c.a.rows == c.b.rows for c in self.changes if c.a is not None and c.b is not None)

    @cached_property
    def result(self) -> Result:
        """Whether something is worse."""
        return result_of(self.changes)

    @cached_property
    def counts(self) -> Mapping[Kind, int]:
        """How many there are of each kind that there is, what counts most first."""
        found = Counter(change.kind for change in self.changes)
        return {kind: found[kind] for kind in KINDS if found[kind]}

    def subject(self, change: Change) -> Subject:
        """Return what a change speaks of, as the second record names it."""
        return self.b.subjects.get(change.name) or self.a.subjects[change.name]

    def of(self, kind: Kind) -> tuple[Change, ...]:
        """Return the changes of a kind."""
        return tuple(change for change in self.changes if change.kind == kind)


def read_training(name: str, analysis: Analysis) -> Side:
    """Read a run or an attached training."""
    model = analysis.record.model
    subject = Subject(model.class_name, model.task, model.model_type, None, analysis)
    return Side(name, analysis.record.kind, _facts(analysis), {"": subject})


def read_release(name: str, analysis: SurveyAnalysis, release: str) -> Side:
    """Read the rows of one release in a survey."""
    rows = analysis.of(release)
    trained = next((row.analysis for row in rows if row.analysis is not None), None)
    environment = analysis.record.environment
    facts = _facts(trained) if trained is not None else _versions(environment.gacheck, environment.packages)
    subjects = {f"{row.item.name} {row.item.task}": _subject(row) for row in rows}
    return Side(name, "survey", {**facts, "transformers": release}, subjects)


def _subject(row: JudgedRow) -> Subject:
    return Subject(row.class_name or row.item.name, row.item.task, row.model_type, row.reason, row.analysis)


def _facts(analysis: Analysis) -> dict[str, str]:
    environment, hardware = analysis.record.environment, analysis.record.hardware
    return {
        **_versions(environment.gacheck, environment.packages),
        "python": environment.python,
        "platform": environment.platform,
        "device": hardware.device_name or hardware.device,
    }


def _versions(gacheck: str, packages: Mapping[str, str]) -> dict[str, str]:
    return {**packages, "gacheck": gacheck}


def keeps_apart(a: Side, b: Side) -> tuple[tuple[Subject, str], ...]:
    """Return what cannot be compared, and why: trainings that differ in what decides their codes and ratios."""
    pairs = list(_trained_twice(a, b))
    found = [(subject, unlike(was.record, now.record, same_model=b.kind == "survey")) for subject, was, now in pairs]
    return tuple((subject, _listed(differences)) for subject, differences in found if differences)


def _listed(differences: Iterable[Difference]) -> str:
    return "; ".join(f"A has {each.name} {each.a}, B {each.b}" for each in differences)


def _trained_twice(a: Side, b: Side) -> Iterable[tuple[Subject, Analysis, Analysis]]:
    for name, now in b.subjects.items():
        was = a.subjects.get(name)
        if was is not None and was.analysis is not None and now.analysis is not None:
            yield now, was.analysis, now.analysis


def compare_sides(a: Side, b: Side) -> Comparison:
    """Hold two records of one kind against each other."""
    if b.kind != "survey":
        differ = [each for _, was, now in _trained_twice(a, b) for each in compared(was.record, now.record)]
        a = replace(a, facts={**a.facts, **{each.name: each.a for each in differ}})
        b = replace(b, facts={**b.facts, **{each.name: each.b for each in differ}})
    return Comparison(a, b, compare(_judgements(a), _judgements(b)))


def _judgements(side: Side) -> dict[str, Judgement | None]:
    return {name: _judgement(each.analysis) if each.analysis else None for name, each in side.subjects.items()}


def _judgement(analysis: Analysis) -> Judgement:
    verdict = analysis.verdict
    return Judgement(
        code=verdict.code,
        codes=verdict.codes,
        severity=verdict.severity,
        flag=analysis.flag.auto,
        passes=_passes(analysis),
        tolerance=analysis.tolerance,
        rows=rows_of(analysis.record),
    )


def _passes(analysis: Analysis) -> dict[str, PassFigures]:
    """Name the passes; of an attached training there is the one that it did itself, at whatever value of the flag."""
    record = analysis.record
    if isinstance(record, AttachRecord):
        own = [p for p in analysis.passes if p.loss_kwargs == record.setup.loss_kwargs]
        return {f"k{p.accumulation_steps}": p for p in own}
    return {p.id: p for p in (*analysis.passes, *analysis.tails)}
