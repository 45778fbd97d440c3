"""What a model's verdict was under one release after the other, and which release to try next.

A history may change more than once, and there and back. So some releases all over it are tried first; then, between
every two neighbours that differ, one in the middle, until no release is left between them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Literal

from gacheck.rules.table import Severity

STRIDE = 4
"""Of the minor versions every so many-th is tried first: a verdict that lasts as long is seen."""

State = Severity | Literal["absent", "unknown"]


_FINAL = re.compile(r"[0-9]+(\.[0-9]+)+")


def is_release(text: str) -> bool:
    """Whether a text is the number of a final release."""
    return _FINAL.fullmatch(text) is not None


def numbers_of(release: str) -> tuple[int, ...]:
    """Return the numbers of a final release, by which it is ordered."""
    return tuple(map(int, release.split(".")))


@dataclass(frozen=True)
class Tried:
    """What was found under one release.

    Attributes:
        release: Which.
        state: The verdict's severity; `absent` where the release cannot make the model, `unknown` where it could not
            be tried.
        code: The verdict's code; None without a verdict.
        reason: Why there is no verdict.
        class_name: Of the model that was made; a release may make another of the same name.
    """

    release: str
    state: State
    code: str | None = None
    reason: str = ""
    class_name: str | None = None

    @property
    def answer(self) -> str | None:
        """What two releases are compared by; None where nothing is known."""
        return None if self.state == "unknown" else self.code or self.state


@dataclass(frozen=True)
class Change:
    """Two releases with different answers, and none between them with an answer.

    Attributes:
        before: The earlier one.
        after: The later one.
        between: The releases between them, which could not be tried.
    """

    before: Tried
    after: Tried
    between: tuple[str, ...] = ()


@dataclass(frozen=True)
class Span:
    """Releases that follow one another, of which those that were tried agree.

    Attributes:
        first: The first of them, with an answer.
        last: The last of them, with an answer.
        num_tried: How many have an answer.
        num_releases: How many there are.
    """

    first: Tried
    last: Tried
    num_tried: int
    num_releases: int


@dataclass(frozen=True)
class History:
    """What is known of all releases.

    Attributes:
        releases: All, oldest first.
        tried: Those that were tried, oldest first.
        spans: Those with an answer, joined where neighbours agree.
        changes: Between the spans.
    """

    releases: tuple[str, ...]
    tried: tuple[Tried, ...]
    spans: tuple[Span, ...]
    changes: tuple[Change, ...]

    @property
    def first_bad(self) -> Tried | None:
        """The first release whose verdict fails."""
        return next((each for each in self.tried if each.state == "fail"), None)

    @property
    def bad(self) -> tuple[tuple[Tried, Tried], ...]:
        """The first and the last release of every time during which the verdict failed, whatever its code was then."""
        runs = (list(run) for failed, run in groupby(self.spans, lambda each: each.first.state == "fail") if failed)
        return tuple((run[0].first, run[-1].last) for run in runs)

    @property
    def first_good(self) -> Tried | None:
        """The first release with a verdict of ok after the first bad one."""
        bad = self.first_bad
        later = self.tried[self.tried.index(bad) :] if bad else ()
        return next((each for each in later if each.state == "ok"), None)

    @property
    def is_certain(self) -> bool:
        """Whether every change lies between two neighbours, every answer is one, and nothing lies beyond them."""
        sure = all(span.first.state != "inconclusive" for span in self.spans)
        return bool(self.spans) and sure and not any(change.between for change in self.changes) and not self.beyond

    @property
    def beyond(self) -> tuple[str, ...]:
        """The releases before the first answer and after the last one: an end could not be tried."""
        if not self.spans:
            return self.releases
        first, last = (self.releases.index(each.release) for each in (self.spans[0].first, self.spans[-1].last))
        return (*self.releases[:first], *self.releases[last + 1 :])

    @property
    def untried(self) -> tuple[str, ...]:
        """The releases that were not tried."""
        known = {each.release for each in self.tried}
        return tuple(each for each in self.releases if each not in known)


def history_of(releases: Sequence[str], tried: Mapping[str, Tried]) -> History:
    """Read what was found.

    Args:
        releases: All, oldest first.
        tried: Those that were tried.
    """
    ordered = tuple(tried[each] for each in releases if each in tried)
    answered = [each for each in ordered if each.answer is not None]
    runs = [list(run) for _, run in groupby(answered, key=lambda each: each.answer)]
    places = {release: place for place, release in enumerate(releases)}
    spans = [Span(run[0], run[-1], len(run), places[run[-1].release] - places[run[0].release] + 1) for run in runs]
    changes = [
        Change(a.last, b.first, tuple(releases[places[a.last.release] + 1 : places[b.first.release]]))
        for a, b in pairwise(spans)
    ]
    return History(tuple(releases), ordered, tuple(spans), tuple(changes))


def wanted(releases: Sequence[str], tried: Mapping[str, Tried], stride: int = STRIDE) -> list[str]:
    """Return the releases to be tried next, in any order or beside each other; none when nothing is left to find.

    Args:
        releases: All, oldest first.
        tried: Those that were tried.
        stride: As `STRIDE`.
    """
    first = [each for each in first_tried(releases, stride) if each not in tried]
    answered = [place for place, each in enumerate(releases) if each in tried and tried[each].answer is not None]
    gaps = [
        [each for each in releases[a + 1 : b] if each not in tried]
        for a, b in pairwise(answered)
        if tried[releases[a]].answer != tried[releases[b]].answer
    ]
    # What is tried first may split a gap: until then its middle is not known.
    return first + [_middle(gap, releases) for gap in gaps if gap and not set(gap) & set(first)]


def first_tried(releases: Sequence[str], stride: int = STRIDE) -> list[str]:
    """Return what is tried first, newest first: both ends, and of every `stride`-th minor version its last release."""
    if not releases:
        return []
    chosen = {releases[0], releases[-1], *_last_of_minors(releases)[::stride][1:]}
    return [each for each in reversed(releases) if each in chosen]


def _middle(gap: Sequence[str], releases: Sequence[str]) -> str:
    """Return the middle one: of the last releases of minor versions, where the gap has any."""
    minors = set(_last_of_minors(releases))
    among = [each for each in gap if each in minors] or gap
    return among[len(among) // 2]


def _last_of_minors(releases: Sequence[str]) -> list[str]:
    return list({numbers_of(each)[:2]: each for each in releases}.values())
