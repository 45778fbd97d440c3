"""What became of the things that two records hold, in words."""

from __future__ import annotations

from collections.abc import Sequence

from gacheck.core.compare import Change, Judgement, Kind, PassChange, gradient_rule, loss_rule
from gacheck.core.figures import PassFigures
from gacheck.rules.table import Rule
from gacheck.words.comparison import Comparison

TITLES: dict[Kind, str] = {
    "regressed": "worse",
    "lost": "no longer judged",
    "better": "better",
    "fixed": "fixed",
    "changed": "changed",
    "moved": "same verdict, other figures",
    "found": "judged now",
    "gone": "only in A",
    "new": "only in B",
    "unjudged": "without a verdict in either",
    "same": "the same",
}
"""Of a list of changes."""

COUNTED: dict[Kind, str] = {**TITLES, "moved": "with other figures"}
"""The same behind a number."""

HEADS = {"regression": "REGRESSION", "unjudged": "?", "none": "no regression"}
"""How the last line begins."""

# More names than these on the last line are read by nobody.
MOST_NAMED = 5


def verdict_label(found: Judgement | None) -> str:
    """Write a verdict: its severity and its code."""
    if found is None:
        return "no verdict"
    severity = found.severity.upper()
    # OK and INCONCLUSIVE are their own severity.
    head = found.code if found.code == severity else f"{severity} {found.code}"
    return head + "".join(f" + {code}" for code in found.codes if code not in (found.code, "OK"))


def change_label(change: Change) -> str:
    """Write what a verdict was and what it is."""
    was, now = verdict_label(change.a), verdict_label(change.b)
    if change.kind in ("gone", "new"):
        return was if change.kind == "gone" else now
    return now if was == now else f"{was} → {now}"


def reason_of(comparison: Comparison, change: Change) -> str | None:
    """Say why something has no verdict; None where it has one."""
    seen = [side.subjects[change.name] for side in (comparison.b, comparison.a) if change.name in side.subjects]
    for subject in seen:
        if subject.reason is not None:
            return subject.reason
        if subject.analysis is not None and subject.analysis.verdict.severity == "inconclusive":
            return subject.analysis.verdict.words.summary
    return None


def flag_change(change: Change) -> str | None:
    """Say that the flag is another, as the Trainer chose it or as it was set; None where it is not."""
    a, b = change.a, change.b
    if a is None or b is None or a.flag == b.flag:
        return None
    return f"{a.flag or 'unknown'} → {b.flag or 'unknown'}"


def rule_changes(change: PassChange) -> list[str]:
    """Say which other arithmetic explains a pass, and whether it still ends well."""
    a, b = change.a, change.b
    if a is None or b is None or "status" in change.figures:
        return [f"{_status(a)} → {_status(b)}"]
    said = []
    if "rule" in change.figures:
        said.append(f"{_label(loss_rule(a))} → {_label(loss_rule(b))}")
    # The same words twice say nothing.
    gradient = f"{_label(gradient_rule(a))} → {_label(gradient_rule(b))}"
    if "gradient_rule" in change.figures and gradient not in said:
        said.append(f"gradient: {gradient}")
    return said


def _status(figures: PassFigures | None) -> str:
    if figures is None or not figures.ran:
        return "not run"
    return figures.status


def _label(rule: Rule | None) -> str:
    return rule.label if rule is not None else "no rule fits"


def counts_line(comparison: Comparison) -> str:
    """Count the classes by what became of them; those that stand in one record alone at the end."""
    counts = comparison.counts
    alone = [f"{counts[kind]} {COUNTED[kind]}" for kind in ("gone", "new") if kind in counts]
    both = [f"{number} {COUNTED[kind]}" for kind, number in counts.items() if kind not in ("gone", "new")]
    number = sum(number for kind, number in counts.items() if kind not in ("gone", "new"))
    return "; ".join([f"{number} compared: {', '.join(both)}", *alone])


def result_line(comparison: Comparison) -> str:
    """Say whether something is worse."""
    head, worse, lost = HEADS[comparison.result], comparison.of("regressed"), comparison.of("lost")
    of_many = comparison.kind == "survey"
    if comparison.result == "regression":
        return f"{head}: {_named(comparison, worse) if of_many else change_label(worse[0])}"
    if comparison.result == "none":
        judged = sum(change.is_judged for change in comparison.changes)
        return f"{head} in {_classes(judged)} judged in both" if of_many else head
    if not lost:
        return f"{head} nothing is judged in both, so no regression could be seen"
    if not of_many:
        return f"{head} no regression is seen, but A has a verdict and B has none"
    return f"{head} no regression is seen, but no longer judged: {_named(comparison, lost)}"


def _classes(number: int) -> str:
    return f"the {number} classes that are" if number > 1 else "the one class that is"


def _named(comparison: Comparison, changes: Sequence[Change]) -> str:
    names = [comparison.subject(change).name for change in changes]
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
