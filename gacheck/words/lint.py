"""What was read of a class, in words."""

from __future__ import annotations

from collections.abc import Mapping

from gacheck.lint.finding import Effect, Finding
from gacheck.rules.facts import CodeLocation
from gacheck.rules.table import Severity

SEVERITY: Mapping[Effect, Severity] = {
    "fine": "ok",
    "mean_of_means": "warn",
    "unknown": "inconclusive",
    "affected": "fail",
}
"""How grave what was read would be, if it were measured; the most harmless first."""

MEANING: Mapping[Effect, str] = {
    "fine": "the flag is on, and the loss is divided by num_items_in_batch",
    "mean_of_means": "the Trainer divides by k, whatever the loss does: right where every micro-batch has as many "
    "labels as the others; else those with few weigh too much",
    "unknown": "the source does not tell",
    "affected": "the flag is on, so that the Trainer does not divide by k, and the loss does not use "
    "num_items_in_batch: it is k times too large",
}

TITLE: Mapping[Effect, str] = {
    "fine": "fine",
    "mean_of_means": "mean of means",
    "unknown": "unknown",
    "affected": "affected",
}


def detail(finding: Finding) -> str:
    """Say where the count goes, or where the loss is computed without it."""
    places = [place(each) for each in finding.trail]
    if finding.answer == "reaches":
        ends = [places[0], places[-1]] if len(places) > 1 else places
        return " → ".join(ends) + (", for class labels alone" if finding.apart else "")
    return ": ".join(filter(None, [places[0] if places else "", finding.why]))


def flag(finding: Finding) -> str:
    """Say what the Trainer sets its flag to, and why."""
    if finding.flag is None:
        return "flag unknown"
    state = "on" if finding.flag else "off"
    if finding.declared is not None:
        return f"flag {state}: the class declares accepts_loss_kwargs = {finding.declared}"
    return f"flag {state}: its forward takes {'' if finding.takes_kwargs else 'no '}**kwargs"


def place(line: CodeLocation) -> str:
    """Write a line as `modeling_llama.py:475`."""
    return f"{line.file.replace(chr(92), '/').rsplit('/', 1)[-1]}:{line.line}"
