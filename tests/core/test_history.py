"""The search over releases, on histories made by hand: what it finds is what a linear scan would."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gacheck.core.history import History, Tried, first_tried, history_of, is_release, numbers_of, wanted

# Of each minor version so many patch releases, 4.46.0 the first.
PATCHES = st.lists(st.integers(1, 5), min_size=1, max_size=30)
ANSWERS = st.sampled_from("ABC")


def releases_of(patches: list[int]) -> list[str]:
    return [f"4.{46 + minor}.{patch}" for minor, count in enumerate(patches) for patch in range(count)]


def tried(release: str, answer: str | None) -> Tried:
    return Tried(release, "unknown", reason="no network") if answer is None else Tried(release, "fail", answer)


def explore(releases: list[str], truth: dict[str, str | None], stride: int = 4) -> tuple[History, int]:
    """Try what is wanted until nothing is; return the history, and how many rounds it took."""
    found: dict[str, Tried] = {}
    for rounds in range(len(releases) + 2):
        more = wanted(releases, found, stride)
        if not more:
            return history_of(releases, found), rounds
        assert len(more) == len(set(more))
        assert not set(more) & set(found)
        found.update((release, tried(release, truth[release])) for release in more)
    raise AssertionError("it never ends")


def scan(releases: list[str], truth: dict[str, str]) -> list[tuple[str, str]]:
    return [(a, b) for a, b in pairwise(releases) if truth[a] != truth[b]]


def found_by(history: History) -> list[tuple[str, str]]:
    return [(change.before.release, change.after.release) for change in history.changes]


def test_the_history_of_gemma3_by_hand() -> None:
    releases = releases_of([4, 2, 4, 1, 4, 4, 5, 4, 2, 5, 3, 7])
    verdicts = ["absent"] * 11 + ["SCALED"] * 17 + ["MEAN"] * 17
    truth = dict(zip(releases, verdicts, strict=True))

    history, _ = explore(releases, truth)

    assert first_tried(releases) == ["4.57.6", "4.54.1", "4.50.3", "4.46.0"]
    assert found_by(history) == [("4.49.0", "4.50.0"), ("4.53.3", "4.54.0")]
    assert [(span.first.release, span.last.release) for span in history.spans] == [
        ("4.46.0", "4.49.0"),
        ("4.50.0", "4.53.3"),
        ("4.54.0", "4.57.6"),
    ]
    assert len(history.tried) < len(releases) / 3


def test_the_middle_is_taken_among_minor_versions_first() -> None:
    releases = releases_of([3, 3, 9, 3, 3])
    found = {"4.46.0": tried("4.46.0", "A"), "4.50.2": tried("4.50.2", "B")}

    assert wanted(releases, found) == ["4.48.8"]
    # Then between two of them, among the patch releases of the later one.
    found |= {"4.47.2": tried("4.47.2", "A"), "4.48.8": tried("4.48.8", "B")}
    assert wanted(releases, found) == ["4.48.4"]


def test_what_is_tried_first_comes_before_any_middle() -> None:
    releases = releases_of([1] * 9)
    found = {"4.46.0": tried("4.46.0", "A"), "4.54.0": tried("4.54.0", "B")}

    assert wanted(releases, found) == ["4.50.0"]


@given(PATCHES, st.data())
def test_a_history_that_is_constant_within_minor_versions_is_found_whole(
    patches: list[int], data: st.DataObject
) -> None:
    releases = releases_of(patches)
    minors = {numbers_of(each)[:2]: data.draw(ANSWERS) for each in releases}
    truth = {each: minors[numbers_of(each)[:2]] for each in releases}

    history, _ = explore(releases, dict(truth), stride=1)

    assert found_by(history) == scan(releases, truth)
    assert all(not change.between for change in history.changes)


@given(PATCHES, st.integers(1, 5), st.data())
def test_every_change_is_found_where_each_verdict_holds_at_a_release_tried_first(
    patches: list[int], stride: int, data: st.DataObject
) -> None:
    releases = releases_of(patches)
    places = sorted(releases.index(each) for each in first_tried(releases, stride))
    truth = {releases[0]: data.draw(ANSWERS)}
    for a, b in pairwise(places):
        before, after = truth[releases[a]], data.draw(ANSWERS)
        edge = data.draw(st.integers(a + 1, b))
        truth |= {releases[at]: before if at < edge else after for at in range(a + 1, b + 1)}

    history, rounds = explore(releases, dict(truth), stride)

    assert found_by(history) == scan(releases, truth)
    # Bisected: never more rounds than it takes to halve first the minor versions and then the patches.
    assert rounds <= 2 + math.ceil(math.log2(stride + 1)) + math.ceil(math.log2(max(patches) + 1))


@given(PATCHES, st.data())
def test_what_is_said_is_true_of_any_history(patches: list[int], data: st.DataObject) -> None:
    """Also where releases cannot be tried: then a change lies between two that could, all between them is unknown."""
    releases = releases_of(patches)
    truth = {each: data.draw(st.one_of(st.none(), ANSWERS)) for each in releases}

    history, _ = explore(releases, truth)

    for change in history.changes:
        assert change.before.answer != change.after.answer
        low, high = releases.index(change.before.release), releases.index(change.after.release)
        assert list(change.between) == releases[low + 1 : high]
        assert all(truth[each] is None for each in change.between)
    assert all(each.answer == truth[each.release] for each in history.tried)
    assert {*history.untried, *(each.release for each in history.tried)} == set(releases)
    spans = [each for span in history.spans for each in (span.first, span.last)]
    inside = releases[releases.index(spans[0].release) : releases.index(spans[-1].release) + 1] if spans else []
    assert [*history.beyond] == [each for each in releases if each not in inside]
    assert sum(span.num_tried for span in history.spans) == sum(each.answer is not None for each in history.tried)


def history(*states: tuple[str, str | None]) -> History:
    """Make a history of neighbouring releases, each with state and code."""
    found = {f"4.{46 + n}.0": Tried(f"4.{46 + n}.0", state, code) for n, (state, code) in enumerate(states)}  # type: ignore[arg-type]
    return history_of(list(found), found)


BAD, WARNED, RIGHT, ABSENT = ("fail", "SUM"), ("warn", "MEAN"), ("ok", "OK"), ("absent", None)


@pytest.mark.parametrize(
    ("states", "first_bad", "first_good", "num_changes"),
    [
        ((ABSENT, BAD, WARNED, RIGHT), "4.47.0", "4.49.0", 3),
        ((RIGHT, BAD), "4.47.0", None, 1),
        ((RIGHT, WARNED, RIGHT), None, None, 2),
        ((BAD, RIGHT, BAD), "4.46.0", "4.47.0", 2),
        ((RIGHT, RIGHT), None, None, 0),
    ],
)
def test_the_first_bad_and_the_first_good(
    states: tuple[tuple[str, str | None], ...], first_bad: str | None, first_good: str | None, num_changes: int
) -> None:
    found = history(*states)

    assert (found.first_bad and found.first_bad.release) == first_bad
    assert (found.first_good and found.first_good.release) == first_good
    assert len(found.changes) == num_changes
    assert found.is_certain


def test_nothing_is_certain_where_a_release_at_a_change_could_not_be_tried() -> None:
    assert not history(RIGHT, ("unknown", None), BAD).is_certain
    assert history(RIGHT, ("unknown", None), RIGHT).is_certain
    assert not history(RIGHT, ("inconclusive", "INCONCLUSIVE")).is_certain
    assert not history(("unknown", None)).is_certain
    assert history(RIGHT, ("unknown", None)).beyond == ("4.47.0",)
    assert not history(RIGHT, ("unknown", None)).is_certain


def test_final_releases_are_told_from_others() -> None:
    assert [each for each in ("4.46.0", "5.0.0", "5.0.0rc1", "4.57.dev0", "x", "4", "٤.1") if is_release(each)] == [
        "4.46.0",
        "5.0.0",
    ]
    assert sorted(["4.9.0", "4.10.0", "5.0.0"], key=numbers_of) == ["4.9.0", "4.10.0", "5.0.0"]
