"""A survey, read: every row judged by the rule table, in the order of the plan."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from gacheck.core.figures import PassFigures
from gacheck.record.survey import SurveyItem, SurveyRecord, SurveyRow
from gacheck.rules.facts import CodeLocation, Flag
from gacheck.rules.table import Severity
from gacheck.words.analysis import Analysis, analyse


@dataclass(frozen=True)
class JudgedRow:
    """A class under a release, and what was found.

    Attributes:
        item: What was to be judged.
        analysis: Of its training; None where there was none.
        reason: Why there is no verdict; None where there is one.
        seconds: What it took; 0.0 of a row that is missing.
    """

    item: SurveyItem
    analysis: Analysis | None
    reason: str | None
    seconds: float

    @property
    def class_name(self) -> str | None:
        """The class that was built, or that would have been."""
        return self.analysis.record.model.class_name if self.analysis else self.item.class_name

    @property
    def model_type(self) -> str | None:
        """The type of its config."""
        return self.analysis.record.model.model_type if self.analysis else self.item.model_type

    @property
    def code(self) -> str | None:
        """The verdict's code; None where there is none."""
        return self.analysis.verdict.code if self.analysis else None

    @property
    def severity(self) -> Severity | None:
        """The verdict's severity; None where there is none."""
        return self.analysis.verdict.severity if self.analysis else None

    @property
    def figures(self) -> PassFigures | None:
        """The pass with the flag as the Trainer chooses it."""
        auto = self.analysis.flag.auto if self.analysis else None
        return self._at(auto) if auto is not None else None

    @property
    def ratio(self) -> float | None:
        """The reported loss over the right one, with the flag as the Trainer chooses it."""
        return self.figures.ratio if self.figures else None

    @property
    def accumulation_steps(self) -> int | None:
        """The k of its passes."""
        return self.analysis.record.accumulation_steps[-1] if self.analysis else None

    @property
    def location(self) -> CodeLocation | None:
        """The line that computed the loss."""
        frames = self.analysis.record.oracle.loss_location if self.analysis else ()
        return frames[0] if frames else None

    def rule(self, flag: Flag) -> str | None:
        """Return the name of the rule that explains the losses at one value of the flag; None where none does."""
        figures = self._at(flag)
        match = figures.forward if figures else None
        return match.rule.name if match and match.rule else None

    def _at(self, flag: Flag) -> PassFigures | None:
        passes = self.analysis.passes if self.analysis else ()
        return next((each for each in passes if each.loss_kwargs == flag and each.ran), None)


@dataclass(frozen=True)
class SurveyAnalysis:
    """A survey, read.

    Attributes:
        rows: One for every item, in the order of the plan; of those that are missing the reason says so.
    """

    record: SurveyRecord
    rows: tuple[JudgedRow, ...]

    @cached_property
    def counts(self) -> Mapping[str | None, int]:
        """How many rows have each code; None counts those without a verdict."""
        return Counter(row.code for row in self.rows)

    @property
    def ok(self) -> bool:
        """Whether every row is judged and nothing is wrong with any."""
        return all(row.severity == "ok" for row in self.rows)

    def of(self, release: str) -> tuple[JudgedRow, ...]:
        """Return the rows of one release of transformers."""
        return tuple(row for row in self.rows if row.item.transformers == release)


NOT_YET = "not measured yet"


def read_survey(record: SurveyRecord) -> SurveyAnalysis:
    """Judge every row with the rule table."""
    found = {row.item.id: row for row in record.rows}
    rows = (judge_row(found[item.id]) if item.id in found else _missing(item) for item in record.items)
    return SurveyAnalysis(record, tuple(rows))


def judge_row(row: SurveyRow) -> JudgedRow:
    """Judge a row with the rule table."""
    return JudgedRow(row.item, analyse(row.training) if row.training else None, row.reason, row.seconds)


def _missing(item: SurveyItem) -> JudgedRow:
    return JudgedRow(item, None, NOT_YET, 0.0)
