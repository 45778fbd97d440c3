"""What a model's history over the releases says, in words."""

from __future__ import annotations

from gacheck.core.history import Change, History, Tried

_ABSENT = "cannot make the model"


def headline(history: History) -> str:
    """Say in one sentence which release broke the model and which one fixed it."""
    bad, good = history.first_bad, history.first_good
    newest = history.releases[-1]
    if bad is None:
        return _never_bad(history)
    words = [_broke(history, bad)]
    if good is not None:
        words.append(f"fixed in {good.release}")
        if any(each.state == "fail" for each in history.tried[history.tried.index(good) :]):
            words.append("and broken again later")
    elif history.spans[-1].first.state == "fail":
        words.append(f"not fixed in {newest}")
    elif history.spans[-1].first.state == "warn":
        words.append(f"better in {history.spans[-1].first.release}, with a warning still in {newest}")
    else:
        words.append("no release after it is known to be right")
    return ", ".join(words)


def _broke(history: History, bad: Tried) -> str:
    before = next((change.before for change in history.changes if change.after == bad), None)
    if before is None:
        return f"broken already in {bad.release}, the oldest that was tried"
    if before.state == "absent":
        return f"broken from the first release that has it, {bad.release}"
    return f"broke in {bad.release} (last release before that: {before.release})"


def _never_bad(history: History) -> str:
    states = {span.first.state for span in history.spans}
    warned = [span for span in history.spans if span.first.state == "warn"]
    if warned:
        until = f"{warned[0].first.release} to {warned[-1].last.release}"
        return f"no release that was tried fails; a warning {'between' if len(warned) > 1 else 'from'} {until}"
    if "inconclusive" in states:
        return "no release that was tried fails, but not every verdict is conclusive"
    return "right in every release that was tried and can make the model"


def describe(change: Change) -> str:
    """Say what changed, in one sentence."""
    told = f"{change.after.release}: {_became(change.before, change.after)}"
    if not change.between:
        return told
    return f"{told}, or before it: {', '.join(change.between)} could not be tried"


def _became(before: Tried, after: Tried) -> str:
    first = "the first release that has the model; " if before.state == "absent" else ""
    if after.state == "absent":
        return _ABSENT
    if after.state == "ok":
        return f"{first}right" if first else f"fixed; {before.release} is the last with {before.code}"
    if before.state == "ok":
        return f"{after.code}; {before.release} is the last that is right"
    return f"{first}{after.code}" if first else f"{after.code} in place of {before.code}"


def limits(history: History) -> list[tuple[str, str]]:
    """Return what the search cannot say, each under a label of one word."""
    told = []
    if len(history.changes) > 1:
        told.append(("history", f"It is not monotone: the verdict changes {len(history.changes)} times."))
    unknown = [each for each in history.tried if each.state == "unknown"]
    for reason, releases in _by_reason(unknown).items():
        told.append(("failed", f"{', '.join(releases)} could not be tried: {reason.rstrip('.')}."))
    if history.untried:
        told.append(
            (
                "untried",
                f"{len(history.untried)} of {len(history.releases)} releases. Each lies between two with the same "
                "verdict; a fault that came and went between them was not seen.",
            )
        )
    return told


def absence(history: History) -> str:
    """Return why the newest release that cannot make the model cannot; empty where there is none."""
    return next((each.reason for each in reversed(history.tried) if each.state == "absent"), "")


def _by_reason(tried: list[Tried]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for each in tried:
        found.setdefault(each.reason.replace(each.release, "it"), []).append(each.release)
    return found
