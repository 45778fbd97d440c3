"""Two records held against each other: codes, rules and ratios, never raw losses.

A ratio is a loss over the right answer for the same rows and weights, so it can be compared where losses cannot:
another release draws other random weights, and every loss is another one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from gacheck.core.figures import PassFigures
from gacheck.core.finding import Tolerance
from gacheck.rules.facts import Flag
from gacheck.rules.matching import SLACK
from gacheck.rules.table import SEVERITY_RANK, Rule, Severity

Kind = Literal["regressed", "lost", "better", "fixed", "changed", "moved", "found", "gone", "new", "unjudged", "same"]
"""What became of something, what counts most first.

Its verdict is worse; it had one and has none; it is better and not ok yet; it is ok; another verdict, as grave; the
same verdict with other figures; it had none and has one; it is in the first record alone; in the second alone; it has
no verdict in either; it is the same.
"""

KINDS: tuple[Kind, ...] = get_args(Kind)

Result = Literal["regression", "unjudged", "none"]
"""Whether something is worse, or whether nobody knows."""

# Other random weights move the ratio of a mean of means by a part in a thousand, its gradient's norm by a per cent.
LEAST_RATIO = 2e-3
LEAST_NORM = 0.05

Figure = Literal["status", "rule", "gradient_rule", "ratio", "grad_norm_ratio"]


@dataclass(frozen=True)
class Judgement:
    """What was found of one training.

    Attributes:
        code: The one that leads.
        codes: Of the verdict, gravest first.
        flag: As the Trainer chose it, or as it was in force; None where that is not known.
        passes: By their names. Those of two trainings that have the same name are compared.
        tolerance: What correct arithmetic varies by.
        rows: Stands for the rows that were fed. Ratios of other rows are not compared.
    """

    code: str
    codes: tuple[str, ...]
    severity: Severity
    flag: Flag | None
    passes: Mapping[str, PassFigures]
    tolerance: Tolerance
    rows: object = None

    @property
    def ratio(self) -> float | None:
        """The reported loss over the right one at the largest k, with that flag."""
        seen = [p for p in self.passes.values() if p.loss_kwargs == self.flag and p.ratio is not None]
        return max(seen, key=lambda p: p.accumulation_steps).ratio if seen else None


@dataclass(frozen=True)
class PassChange:
    """A pass that is not what it was.

    Attributes:
        a: In the first record; None where it has none of this name.
        b: In the second.
        figures: Those that differ.
    """

    name: str
    a: PassFigures | None
    b: PassFigures | None
    figures: tuple[Figure, ...]

    @property
    def known(self) -> PassFigures:
        """The pass as the second record has it, or else the first."""
        found = self.b if self.b is not None else self.a
        assert found is not None
        return found


@dataclass(frozen=True)
class Change:
    """What became of one thing.

    Attributes:
        a: What was found in the first record; None where it has no verdict there.
        b: The same of the second.
        passes: The passes that differ; none where it is not judged in both.
    """

    name: str
    kind: Kind
    a: Judgement | None
    b: Judgement | None
    passes: tuple[PassChange, ...] = ()

    @property
    def is_judged(self) -> bool:
        """Whether it has a verdict in both, so that a regression would be seen."""
        return _is_judged(self.a) and _is_judged(self.b)


def compare(a: Mapping[str, Judgement | None], b: Mapping[str, Judgement | None]) -> tuple[Change, ...]:
    """Hold what two records found against each other, joined by name.

    Args:
        a: What the first record found, by name; None of what has no verdict.
        b: The same of the second. Its order is that of the result.
    """
    joined = [
        _change(name, a[name], found) if name in a else Change(name, "new", None, found) for name, found in b.items()
    ]
    gone = [Change(name, "gone", found, None) for name, found in a.items() if name not in b]
    return (*joined, *gone)


def result_of(changes: Iterable[Change]) -> Result:
    """Say whether something is worse; where nothing is, whether that is known."""
    every = list(changes)
    kinds = {change.kind for change in every}
    if "regressed" in kinds:
        return "regression"
    return "unjudged" if "lost" in kinds or not any(change.is_judged for change in every) else "none"


def _is_judged(found: Judgement | None) -> bool:
    return found is not None and found.severity != "inconclusive"


def _change(name: str, a: Judgement | None, b: Judgement | None) -> Change:
    if a is None or b is None or not _is_judged(a) or not _is_judged(b):
        had, has = _is_judged(a), _is_judged(b)
        return Change(name, "lost" if had else "found" if has else "unjudged", a, b)
    passes = _passes(a, b)
    return Change(name, _kind(a, b, moved=bool(passes) or a.flag != b.flag), a, b, passes)


def _kind(a: Judgement, b: Judgement, *, moved: bool) -> Kind:
    before, after = SEVERITY_RANK[a.severity], SEVERITY_RANK[b.severity]
    if after > before:
        return "regressed"
    if after < before:
        return "fixed" if b.severity == "ok" else "better"
    if a.codes != b.codes:
        return "changed"
    return "moved" if moved else "same"


def _passes(a: Judgement, b: Judgement) -> tuple[PassChange, ...]:
    names = dict.fromkeys((*b.passes, *a.passes))
    pairs = [(name, a.passes.get(name), b.passes.get(name)) for name in names]
    found = [PassChange(name, was, now, _figures(was, now, _Allowed.of(a, b))) for name, was, now in pairs]
    return tuple(change for change in found if change.figures)


@dataclass(frozen=True)
class _Allowed:
    """By how much figures may differ, relative; None: they are not compared."""

    ratio: float | None
    norm: float | None

    @classmethod
    def of(cls, a: Judgement, b: Judgement) -> _Allowed:
        if a.rows != b.rows:
            return cls(None, None)
        gradient = max(a.tolerance.gradient or 0.0, b.tolerance.gradient or 0.0)
        loss = max(a.tolerance.loss, b.tolerance.loss)
        return cls(max(LEAST_RATIO, SLACK * loss), max(LEAST_NORM, SLACK * gradient))


def _figures(a: PassFigures | None, b: PassFigures | None, allowed: _Allowed) -> tuple[Figure, ...]:
    """Name what differs between two passes; of one that has no counterpart that alone."""
    if a is None or b is None or a.status != b.status:
        return ("status",)
    differs: dict[Figure, bool] = {
        "rule": _name(loss_rule(a)) != _name(loss_rule(b)),
        "gradient_rule": _name(gradient_rule(a)) != _name(gradient_rule(b)),
        "ratio": _moved(a.ratio, b.ratio, allowed.ratio),
        "grad_norm_ratio": _moved(a.grad_norm_ratio, b.grad_norm_ratio, allowed.norm),
    }
    return tuple(name for name, differ in differs.items() if differ)


def loss_rule(figures: PassFigures) -> Rule | None:
    """Return the rule that explains the losses; None where none does."""
    return figures.forward.rule if figures.forward is not None else None


def gradient_rule(figures: PassFigures) -> Rule | None:
    """Return the rule whose gradient it is: of the whole gradient where that was measured, else of its weights."""
    if figures.gradient is not None:
        return figures.gradient.gradient_rule
    return figures.backward.rule if figures.backward is not None else None


def _name(rule: Rule | None) -> str | None:
    return rule.name if rule is not None else None


def _moved(a: float | None, b: float | None, allowed: float | None) -> bool:
    if a is None or b is None:
        return a is not b
    return allowed is not None and abs(a - b) > allowed * max(abs(a), abs(b))
