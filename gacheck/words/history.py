"""What a model's history over the releases says, in words."""

from __future__ import annotations

from gacheck.core.history import Change, History, Tried, numbers_of


def headline(history: History) -> str:
    """Say in one sentence which release broke the model and which one fixed it."""
    bad, good = history.first_bad, history.first_good
    if bad is None:
        return _never_bad(history)
    again = [(first.release, f"fails again {_during(first, last)}") for first, last in history.bad[1:]]
    fixed = [] if good is None else [(good.release, f"fixed in {good.release}")]
    later = sorted([*again, *fixed], key=lambda each: numbers_of(each[0]))
    end = [] if good is not None else [_left(history)]
    return "; ".join([_broke(history, bad), *(words for _, words in later), *end])


def _during(first: Tried, last: Tried) -> str:
    return f"in {first.release}" if first == last else f"from {first.release} to {last.release}"


def _left(history: History) -> str:
    """Say how it ends where no release is right again."""
    last = history.spans[-1]
    if last.first.state == "fail":
        return f"not fixed in {last.last.release}"
    if last.first.state == "warn":
        return f"from {last.first.release} on a warning is left, {last.first.code}"
    return "no later release is known to be right"


def _broke(history: History, bad: Tried) -> str:
    before = next((change.before for change in history.changes if change.after == bad), None)
    if before is None:
        return f"broken already in {bad.release}, the oldest that was tried"
    if before.state == "absent":
        return f"broken from the first release that has it, {bad.release}"
    was = "right" if before.state == "ok" else before.code
    return f"broke in {bad.release} ({before.release}, the last before it, is {was})"


def _never_bad(history: History) -> str:
    states = {span.first.state for span in history.spans}
    warned = [span for span in history.spans if span.first.state == "warn"]
    if warned:
        codes = ", ".join(dict.fromkeys(span.first.code or "" for span in warned))
        between = _during(warned[0].first, warned[-1].last)
        return f"no release that was tried fails; {between} there is a warning, {codes}"
    if "inconclusive" in states:
        return "no release that was tried fails, but not every verdict is conclusive"
    return "right in every release that was tried and can make the model"


def describe(change: Change) -> str:
    """Say what changed, in one sentence."""
    told = f"{change.after.release}: {_became(change.before, change.after)}{_other_class(change.before, change.after)}"
    if not change.between:
        return told
    return f"{told}. Or before it: {', '.join(change.between)} could not be tried"


def _other_class(before: Tried, after: Tried) -> str:
    if None in (before.class_name, after.class_name) or before.class_name == after.class_name:
        return ""
    return f". It is another class, {after.class_name} in place of {before.class_name}"


def _became(before: Tried, after: Tried) -> str:
    if after.state == "absent":
        return "it cannot make the model any more"
    code = "right" if after.state == "ok" else after.code or ""
    if before.state == "absent":
        return f"the first release that has the model: {code}"
    if after.state == "ok":
        return f"fixed; {before.release} is the last with {before.code}"
    return (
        f"{code}; {before.release} is the last that is right"
        if before.state == "ok"
        else f"{code} in place of {before.code}"
    )


def limits(history: History) -> list[tuple[str, str]]:
    """Return what the search cannot say, each under a label of one word."""
    told = []
    if len(history.changes) > 1:
        told.append(("history", f"It is not monotone: the verdict changes {_times(len(history.changes))}."))
    unknown = [each for each in history.tried if each.state == "unknown"]
    for reason, releases in _by_reason(unknown).items():
        told.append(("failed", f"{', '.join(releases)} could not be tried: {reason.rstrip('.')}."))
    if history.beyond:
        told.append(
            ("unknown", f"What holds of {', '.join(history.beyond)}: no release on their other side was tried.")
        )
    between = len({*history.untried} - {*history.beyond})
    if between:
        told.append(
            (
                "untried",
                f"{between} of {len(history.releases)} releases: each lies between two with the same verdict. "
                "A fault that came and went between them was not seen.",
            )
        )
    return told


def _times(count: int) -> str:
    return "twice" if count == 2 else f"{count} times"


def absence(history: History) -> str:
    """Return why the newest release that cannot make the model cannot; empty where there is none."""
    return next((each.reason for each in reversed(history.tried) if each.state == "absent"), "")


def _by_reason(tried: list[Tried]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for each in tried:
        found.setdefault(each.reason.replace(each.release, "it"), []).append(each.release)
    return found
