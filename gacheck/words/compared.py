"""What a verdict rests on: which steps, at which k and flag, were held against the right answer."""

from __future__ import annotations

from gacheck.core.finding import FlagFinding, PassFinding
from gacheck.core.verdict import Case

_NUMBERS = {1: "step", 2: "two steps"}
_FINE = ("OK", "OTHER_OBJECTIVE")


def compared(case: Case) -> str:
    """Say what was compared, and of a right training that it agrees; empty where nothing could be."""
    judged = _judged(case.auto)
    if case.auto is None or not judged:
        return ""
    what = "Loss" if case.gradient_unseen else "Loss and gradient"
    text = f"{what} of every micro-batch in the first {_steps(judged)}, at k = {_ks(judged)}"
    if case.attached is None:
        text += f", with the flag {_flags(case)}"
    if case.severity != "ok":
        return f"{text}."
    return f"{text}: all agree with the right answer{_size(case)}."


def _judged(finding: FlagFinding | None) -> list[PassFinding]:
    return [p for p in finding.passes if p.forward is not None] if finding is not None else []


def _steps(judged: list[PassFinding]) -> str:
    count = max(len({p.number for p in judged if p.record is each.record}) for each in judged)
    return _NUMBERS.get(count, f"{count} steps")


def _ks(judged: list[PassFinding]) -> str:
    return ", ".join(map(str, sorted({p.record.accumulation_steps for p in judged})))


def _flags(case: Case) -> str:
    assert case.auto is not None
    other = case.other
    also = other is not None and other.codes[0] in _FINE and bool(_judged(other))
    return f"{case.auto.flag} (default){f' and {other.flag}' if also and other is not None else ''}"


def _size(case: Case) -> str:
    """Write the first step's loss, where it is one number."""
    assert case.auto is not None
    losses = {f"{f.reported_loss:.3f}" for f in case.figures if f.loss_kwargs == case.auto.flag and f.reported_loss}
    return f", first-step loss {losses.pop()}" if len(losses) == 1 else ""
