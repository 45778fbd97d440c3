"""`gacheck bisect`: what is tried, what is printed where, and how it ends. The releases are fakes."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from types import SimpleNamespace

import pytest

from gacheck.cli import main
from gacheck.commands import bisect as command
from gacheck.core.history import Tried, numbers_of
from gacheck.releases import index

RELEASES = [f"4.{minor}.{patch}" for minor in range(46, 58) for patch in range(3)]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Gemma3 as it is in the test's world: `verdict` says what a release makes of it."""
    world = SimpleNamespace(verdict=of_gemma3, words=[], asked=[])

    def probe(release: str, words: Sequence[str], say: Callable[[str], None]) -> Tried:
        world.words.append(tuple(words))
        world.asked.append(release)
        found: Tried = world.verdict(release)
        return found

    monkeypatch.setattr(command, "probe", probe)
    monkeypatch.setattr(index, "available", lambda: RELEASES)
    return world


def of_gemma3(release: str) -> Tried:
    if numbers_of(release) < (4, 50, 1):
        return Tried(release, "absent", reason="The model type 'gemma3' is unknown.")
    if numbers_of(release) < (4, 54, 2):
        return Tried(release, "fail", "SCALED_BY_ACCUMULATION")
    return Tried(release, "ok", "OK")


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(["bisect", *arguments])
    return int(caught.value.code or 0)


def test_the_first_bad_and_the_first_good(world: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("tiny:gemma3") == 0

    shown = capsys.readouterr()
    assert "broken from the first release that has it, 4.50.1; fixed in 4.54.2" in shown.out
    assert "not monotone" in shown.out
    assert "transformers 4.57.2: OK\n" in shown.err
    assert set(world.words) == {("smoke", "--model", "tiny:gemma3")}


def test_json_is_all_that_stands_on_stdout(world: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("tiny:gemma3", "--json", "--max-length", "64") == 0

    document = json.loads(capsys.readouterr().out)
    assert (document["first_bad"], document["first_good"]) == ("4.50.1", "4.54.2")
    assert world.words[0] == ("smoke", "--model", "tiny:gemma3", "--max-length", "64")


def test_the_range_is_kept(world: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("tiny:gemma3", "--from", "4.51.0", "--to", "4.53.2") == 0

    assert "broken already in 4.51.0" in capsys.readouterr().out
    assert {"4.51.0", "4.53.2"} <= set(world.asked)
    assert all((4, 51) <= numbers_of(each) <= (4, 53, 2) for each in world.asked)


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("--from", "4.45.0"), "gacheck needs 4.46 or newer"),
        (("--from", "4.57.9"), "There is no transformers 4.57.9"),
        (("--from", "4.50.1", "--to", "4.50.1"), "There are not two releases"),
        (("--from", "4.51.0", "--to", "4.50.0"), "There are not two releases"),
        (("--max-length", "x"), "--max-length x cannot be read"),
    ],
)
def test_what_cannot_be_tried_is_refused_before_anything_is(
    world: SimpleNamespace, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], what: str
) -> None:
    assert run("tiny:gemma3", *arguments) == 2

    assert what in capsys.readouterr().err
    assert world.asked == []


def test_a_change_that_is_not_pinned_down_is_inconclusive(world: SimpleNamespace) -> None:
    gap = {"4.54.1", "4.54.2", "4.54.0"}
    world.verdict = lambda each: Tried(each, "unknown", reason="No space.") if each in gap else of_gemma3(each)

    assert run("tiny:gemma3") == 3


def test_a_model_that_no_release_can_make_is_a_mistake(
    world: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    world.verdict = lambda each: Tried(each, "absent", reason="The model type 'gemma33' is unknown.")

    assert run("tiny:gemma33") == 2
    assert "The model type 'gemma33' is unknown." in capsys.readouterr().err


def test_where_nothing_could_be_tried_it_could_not_run(
    world: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    world.verdict = lambda each: Tried(each, "unknown", reason="No space left on device.")

    assert run("tiny:gemma3") == 4
    assert "why  No space left on device." in capsys.readouterr().err


def test_without_an_index_it_could_not_run(
    world: SimpleNamespace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "available", lambda: (_ for _ in ()).throw(index.unreachable("no network")))

    assert run("tiny:gemma3") == 4
    assert "could not be reached" in capsys.readouterr().err
    assert world.asked == []
