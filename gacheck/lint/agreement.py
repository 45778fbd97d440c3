"""What was read against what was measured: how often do they agree?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from gacheck.lint.finding import Answer, Finding

REACHES: Answer = "reaches"
DROPPED: Answer = "dropped"

# The rule that the losses of a training with the flag on follow, and what it says of the count. A mean of means is
# made by the Trainer, which counted nothing; what else a rule can say is not the question here.
_MEASURED: Mapping[str, Answer] = {
    "token_mean": REACHES,
    "unshifted_token_mean": REACHES,
    "row_mean": REACHES,
    "own_count_mean": REACHES,
    "sum_of_means": DROPPED,
}


@dataclass(frozen=True)
class Disagreement:
    """A class of which something else was measured than read."""

    class_name: str
    read: Answer
    measured: Answer


@dataclass(frozen=True)
class Agreement:
    """How readings and measurements agree.

    Attributes:
        agreeing: Classes that were decided alike.
        disagreeing: Those that were not.
        undecided: Classes that were measured, and of which reading says nothing, those below aside.
        unmeasured: Classes without a measurement that says it.
        uncounted: Classes whose labels the Trainer does not count: it hands nothing over that could be dropped.
    """

    agreeing: tuple[str, ...] = ()
    disagreeing: tuple[Disagreement, ...] = ()
    undecided: tuple[str, ...] = ()
    unmeasured: tuple[str, ...] = ()
    uncounted: tuple[str, ...] = ()

    @property
    def decided(self) -> int:
        """Classes that were both measured and decided."""
        return len(self.agreeing) + len(self.disagreeing)

    @property
    def share(self) -> float | None:
        """Of the decided ones, the share that agree; None where there are none."""
        return len(self.agreeing) / self.decided if self.decided else None

    @property
    def wrongly_reaches(self) -> tuple[str, ...]:
        """Classes said to use the count that drop it: there ought to be none, ever."""
        return tuple(each.class_name for each in self.disagreeing if each.read == REACHES)


def measured_answer(rule_on: str | None) -> Answer | None:
    """Return what the rule of a pass with the flag on says; None where it says nothing of the count."""
    if rule_on is None:
        return None
    # Of a combined rule, what it makes of the loss itself.
    return _MEASURED.get(rule_on.split("+")[0].removesuffix("*W").removesuffix("/W"))


def compare(read: Mapping[str, Finding], rows: Iterable[tuple[str, str | None]]) -> Agreement:
    """Compare.

    Args:
        read: What was read of each class, by its name.
        rows: Classes and the rule that was measured with the flag on. A class that was measured more than once is
            compared each time.
    """
    agreeing: list[str] = []
    disagreeing: list[Disagreement] = []
    undecided: list[str] = []
    unmeasured: list[str] = []
    uncounted: list[str] = []
    for name, rule_on in rows:
        finding, measured = read.get(name), measured_answer(rule_on)
        if measured is None:
            unmeasured.append(name)
        elif finding is None or finding.answer == "unknown":
            (uncounted if finding is not None and not finding.counted else undecided).append(name)
        elif finding.answer == measured:
            agreeing.append(name)
        else:
            disagreeing.append(Disagreement(name, finding.answer, measured))
    return Agreement(tuple(agreeing), tuple(disagreeing), tuple(undecided), tuple(unmeasured), tuple(uncounted))
