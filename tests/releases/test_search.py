"""Releases are tried beside each other, each once, and what is found does not depend on which is done first."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gacheck.core.history import Tried
from gacheck.releases.search import search

RELEASES = [f"4.{minor}.{patch}" for minor in range(46, 58) for patch in range(3)]


class Probe:
    """Answers from a list of releases from which on the verdict is another; counts."""

    def __init__(self, edges: list[int]) -> None:
        self.edges = edges
        self.asked: list[str] = []
        self.most = 0
        self._now = 0
        self._lock = threading.Lock()

    def __call__(self, release: str) -> Tried:
        with self._lock:
            self.asked.append(release)
            self._now += 1
            self.most = max(self.most, self._now)
        place = RELEASES.index(release)
        found = Tried(release, "fail", str(sum(place >= edge for edge in self.edges)))
        with self._lock:
            self._now -= 1
        return found


@given(st.lists(st.integers(1, len(RELEASES) - 1), max_size=3), st.integers(1, 4))
def test_the_history_is_that_of_one_after_the_other(edges: list[int], num_jobs: int) -> None:
    alone, beside = Probe(edges), Probe(edges)

    assert search(RELEASES, beside, num_jobs) == search(RELEASES, alone, 1)
    assert len(beside.asked) == len(set(beside.asked))
    assert beside.most <= num_jobs


def test_what_goes_wrong_ends_the_search() -> None:
    def fail(release: str) -> Tried:
        raise RuntimeError(release)

    with pytest.raises(RuntimeError):
        search(RELEASES, fail, 2)
