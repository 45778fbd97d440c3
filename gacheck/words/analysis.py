"""A record, read: the numbers of `core/` and the words about them, all that a reporter may show.

Derived anew each time; nothing of it is stored.
"""

from __future__ import annotations

from dataclasses import dataclass

from gacheck.core.figures import Divergence, PassFigures, divergence, pass_figures
from gacheck.core.finding import FlagFinding, Tolerance
from gacheck.core.findings import find, measure_tolerance
from gacheck.core.verdict import Affects, Case, FlagFacts, build_case
from gacheck.record.attach import AttachRecord
from gacheck.record.kinds import AnyTrainingRecord
from gacheck.rules.table import Severity
from gacheck.words.verdict import Words, words_of


@dataclass(frozen=True)
class Verdict:
    """What is wrong, what it did and what fixes it; speaks of the flag that the Trainer chooses itself."""

    code: str
    codes: tuple[str, ...]
    severity: Severity
    auto_rule: str | None
    affects: Affects
    better_flag: str | None
    remaining: str | None
    words: Words


@dataclass(frozen=True)
class Analysis:
    """A record, read. Losses in nats per target token.

    Attributes:
        passes: Every pass of the plan, those that failed or have yet to run among them; without tails.
        tails: The same of the tails of an epoch.
    """

    record: AnyTrainingRecord
    flag: FlagFacts
    tolerance: Tolerance
    passes: tuple[PassFigures, ...]
    tails: tuple[PassFigures, ...]
    findings: tuple[FlagFinding, ...]
    divergence: tuple[Divergence, ...]
    verdict: Verdict

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return self.verdict.severity == "ok"

    @property
    def attached(self) -> AttachRecord | None:
        """The record of a training that was attached to; None of a run."""
        return self.record if isinstance(self.record, AttachRecord) else None

    def __repr__(self) -> str:
        """Say the verdict: it is what an assertion shows that fails."""
        words = self.verdict.words
        return f"<Analysis {self.verdict.code}: {words.summary}. {words.cause} Fix: {words.fix}>"


def analyse(record: AnyTrainingRecord) -> Analysis:
    """Read a record with the rule table."""
    tolerance = measure_tolerance(record.oracle, record.passes)
    tried = [flag for flag in record.flags if any(p.loss_kwargs == flag for p in record.all_passes)]
    findings = tuple(find(record, flag, tolerance) for flag in tried)
    every = pass_figures(record, findings)
    passes = tuple(p for p in every if not p.tail)
    case = build_case(record, findings, passes, tolerance)
    tails = tuple(p for p in every if p.tail)
    return Analysis(record, case.flag, tolerance, passes, tails, findings, divergence(passes), _verdict(case))


def _verdict(case: Case) -> Verdict:
    rule = case.auto.forward.rule if case.auto and case.auto.forward else None
    return Verdict(
        code=case.code,
        codes=case.codes,
        severity=case.severity,
        auto_rule=rule.name if rule else None,
        affects=case.affects,
        better_flag=case.better_flag,
        remaining=case.remaining,
        words=words_of(case),
    )
