"""RunRecord → Analysis: all that a reporter may show. Derived anew each time; nothing of it is stored."""

from __future__ import annotations

from dataclasses import dataclass

from gacheck.core.figures import Divergence, PassFigures, divergence, pass_figures
from gacheck.core.findings import FlagFinding, Tolerance, find, measure_tolerance
from gacheck.core.verdict import Affects, FlagFacts, build_case, severity
from gacheck.record.run import RunRecord
from gacheck.rules.codes import Severity
from gacheck.words.wording import Words, word


@dataclass(frozen=True)
class Verdict:
    """What is wrong, what it did and what mends it; speaks of the flag that the Trainer chooses itself."""

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
    """A record, read. Losses in nats per target token."""

    record: RunRecord
    flag: FlagFacts
    tolerance: Tolerance
    passes: tuple[PassFigures, ...]
    findings: tuple[FlagFinding, ...]
    divergence: tuple[Divergence, ...]
    verdict: Verdict

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return self.verdict.severity == "ok"

    def __repr__(self) -> str:
        """Say the verdict: it is what an assertion shows that fails."""
        words = self.verdict.words
        return f"<Analysis {self.verdict.code}: {words.summary}. {words.cause} Fix: {words.fix}>"


def analyse(record: RunRecord) -> Analysis:
    """Read a record with the rule table."""
    tolerance = measure_tolerance(record.oracle, record.passes)
    tried = [flag for flag in record.config.loss_kwargs if any(p.loss_kwargs == flag for p in record.passes)]
    findings = tuple(find(record, flag, tolerance) for flag in tried)
    passes = pass_figures(record, findings)
    case = build_case(record, findings, passes, tolerance)
    rule = case.auto.forward.rule if case.auto and case.auto.forward else None
    verdict = Verdict(
        code=case.code,
        codes=case.codes,
        severity=severity(case),
        auto_rule=rule.name if rule else None,
        affects=case.affects,
        better_flag=case.better_flag,
        remaining=case.remaining,
        words=word(case),
    )
    return Analysis(record, case.flag, tolerance, passes, findings, divergence(passes), verdict)
