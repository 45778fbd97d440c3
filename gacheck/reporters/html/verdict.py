"""The verdict for a reader in a hurry: one plain sentence, what to do, and the fix as lines that can be copied."""

from __future__ import annotations

import re
from dataclasses import dataclass

from gacheck.words.analysis import Verdict
from gacheck.words.verdict import Words

# What a severity looks like besides its colour.
SIGNS = {"fail": "✕", "warn": "!", "ok": "✓", "inconclusive": "?"}
LEADS = {
    "fail": "This training is wrong",
    "warn": "This training is not quite right",
    "ok": "This training is right",
    "inconclusive": "It is not known whether this training is right",
}

# A line of code, as the fix of a verdict gives it: perhaps a word before it, and where to put it behind.
_CODE = re.compile(r"^(?P<before>(?:Or:?|Try) +)?(?P<code>\S.*?) {2,}# (?P<place>.+)$")
# On a page the table stands below the verdict.
_ABOVE = re.compile(r"\b(Tried|See) above\b")


@dataclass(frozen=True)
class Head:
    """The verdict as a label: a sign, its severity as a word, and its code where that says more."""

    sign: str
    severity: str
    code: str


@dataclass(frozen=True)
class Advice:
    """What to do, in one sentence: words, perhaps a line of code, words."""

    before: str
    code: str = ""
    after: str = ""


@dataclass(frozen=True)
class FixLine:
    """A line of the fix.

    Attributes:
        before: A word before code: Or, Try.
        code: A line of code; empty where the line is a sentence.
        place: Where to put it.
        text: The sentence; empty where the line is code.
    """

    before: str = ""
    code: str = ""
    place: str = ""
    text: str = ""


def head(verdict: Verdict) -> Head:
    """Label the verdict."""
    severity = verdict.severity.upper()
    return Head(SIGNS[verdict.severity], severity, "" if verdict.code == severity else verdict.code)


def lead(verdict: Verdict) -> str:
    """Say in one sentence what is the matter."""
    beginning = LEADS[verdict.severity]
    if verdict.severity == "fail" and verdict.affects == "log":
        beginning = "The loss that this training logs is wrong"
    summary = verdict.words.summary
    # Of another objective the summary itself says that it is right.
    return f"This training is {summary}." if summary.startswith("right ") else f"{beginning}: {summary}."


def advice(verdict: Verdict) -> Advice:
    """Say in one sentence what to do."""
    if verdict.severity == "ok":
        return Advice("nothing has to be changed.")
    first = next(iter(fix_lines(verdict.words)), FixLine(text="no fix is known."))
    if not first.code:
        return Advice(first.text)
    return Advice("try the line" if first.before == "Try" else "add the line", first.code, f"{first.place}.")


def fix_lines(words: Words) -> list[FixLine]:
    """Tell code from sentences in the fix."""
    return [_fix_line(line) for line in words.fix.split("\n") if line]


def _fix_line(line: str) -> FixLine:
    found = _CODE.match(line)
    if found is None:
        return FixLine(text=_ABOVE.sub(r"\1 below", line))
    return FixLine((found["before"] or "").strip(" :"), found["code"], found["place"])


def remedies(words: Words) -> list[tuple[str, str]]:
    """Return place and line of code for the other places where a user may be."""
    remedy = words.remedy
    found = [("On the model's class", remedy.model_class), ("LLaMA-Factory", remedy.llamafactory), ("TRL", remedy.trl)]
    return [(place, line) for place, line in found if line is not None]
