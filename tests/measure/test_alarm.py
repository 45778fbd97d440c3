"""One process ends all: who says why, with which exit code, and whom a pass that hangs is put down to."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gacheck.errors import GacheckError, ResourceError, UserCodeError
from gacheck.measure import alarm
from gacheck.measure.alarm import Alarm


class Store:
    """A store that two alarms share."""

    def __init__(self) -> None:
        self.held: dict[str, str] = {}

    def check(self, keys: list[str]) -> bool:
        return all(key in self.held for key in keys)

    def get(self, key: str) -> bytes:
        return self.held[key].encode()

    def compare_set(self, key: str, expected: str, desired: str) -> None:
        self.held.setdefault(key, desired)


class Lost(Store):
    """A store that nobody keeps any more."""

    def check(self, keys: list[str]) -> bool:
        raise RuntimeError("connection reset")

    def compare_set(self, key: str, expected: str, desired: str) -> None:
        raise RuntimeError("connection reset")


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alarm, "INTERVAL_SECONDS", 0.01)
    monkeypatch.setattr(alarm, "PATIENCE_WITH_THE_FIRST_SECONDS", 1.0)
    monkeypatch.setattr(alarm, "PATIENCE_WITH_WHO_HANGS_SECONDS", 0.05)


class Process:
    """What an alarm would do to its process."""

    def __init__(self, rank: int, store: Store | None, size: int = 2) -> None:
        self.said: list[GacheckError] = []
        self.codes: list[int] = []
        self.alarm = Alarm(rank, size, self.said.append, store, self.codes.append)


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not holds() and time.monotonic() < end:
        time.sleep(0.01)
    assert holds()


BROKEN = UserCodeError("Rank 1 failed.", why="Of its own.", fix="Fix it.")


def test_the_first_says_what_another_cannot_go_on_for() -> None:
    store = Store()
    first, other, third = (Process(rank, store, 3) for rank in range(3))
    other.alarm.end_all(BROKEN)

    until(lambda: bool(first.said and third.codes))
    (error,) = first.said
    assert (type(error), error.what, error.why, error.fix) == (UserCodeError, BROKEN.what, BROKEN.why, BROKEN.fix)
    assert (other.codes[:1], other.said, third.codes, third.said) == ([2], [], [2], [])


@pytest.mark.parametrize("store", [Lost(), None])
def test_who_is_not_heard_goes_on_to_say_so_itself(store: Store | None) -> None:
    process = Process(1, store)
    process.alarm.end_all(BROKEN)

    assert (process.said, process.codes) == ([], [])


def test_the_first_speaks_once() -> None:
    store = Store()
    first = Process(0, store)
    first.alarm.end_all(BROKEN)

    until(lambda: store.check([alarm._SAID]))
    time.sleep(0.05)
    assert first.said == []


def test_what_happened_first_is_said() -> None:
    store = Store()
    Process(0, store).alarm.end_all(BROKEN)
    Process(0, store).alarm.end_all(ResourceError("It follows.", why="-", fix="-"))

    assert "Rank 1 failed." in store.held[alarm._END]


@pytest.mark.parametrize(
    ("waits", "others", "named"),
    [(False, [1], "in rank 0,"), (True, [1], "in rank 0,"), (True, [], "in rank 1,")],
    ids=["hangs itself", "all wait", "the other says nothing"],
)
def test_who_hangs_is_named(monkeypatch: pytest.MonkeyPatch, waits: bool, others: list[int], named: str) -> None:
    store = Store()
    monkeypatch.setattr(alarm, "where_it_stands", lambda: ("mine.py:9", waits))
    for rank in others:
        store.held[f"gacheck/overdue/k2-on/{rank}"] = "yes"
    first = Process(0, store)
    first.alarm.overdue("k2-on", 6.0)

    assert named in first.said[0].what
    assert ("mine.py:9" in first.said[0].what) == (named == "in rank 0,")
    assert first.said[0].exit_code == 4


def test_of_one_process_no_rank_is_named() -> None:
    process = Process(0, None, size=1)
    process.alarm.overdue("k2-on", 6.0)

    assert process.said[0].what.startswith("k2-on has not ended, and came no further within 6 s")


def test_where_the_main_thread_stands() -> None:
    told: list[tuple[str, bool]] = []
    thread = threading.Thread(target=lambda: told.append(alarm.where_it_stands()))
    thread.start()
    thread.join()

    assert Path(told[0][0]).expanduser().is_relative_to(Path(threading.__file__).parent)
    assert told[0][1] is False
