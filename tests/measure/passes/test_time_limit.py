"""A pass that takes too long: it is interrupted, and where that is in vain somebody is told."""

from __future__ import annotations

import signal
import threading
import time
from contextlib import suppress

import pytest

from gacheck.measure.passes import time_limit
from gacheck.measure.passes.time_limit import PassTimeout, TimeLimit


def test_a_pass_is_interrupted() -> None:
    before = signal.getsignal(signal.SIGALRM)
    # No Exception, as a training may catch.
    with suppress(Exception), pytest.raises(PassTimeout, match=r"not ended after 0\.1 s"), TimeLimit(0.1).of("k1-on"):
        time.sleep(60)

    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_what_is_in_time_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time_limit, "GRACE_SECONDS", 0.0)
    told: list[str] = []
    limit = TimeLimit(0.2, lambda name, seconds: told.append(name))
    with limit.of("k1-on"):
        pass
    time.sleep(0.3)

    assert told == []


def test_where_it_is_not_heeded_somebody_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time_limit, "GRACE_SECONDS", 0.1)
    told: list[tuple[str, float]] = []
    limit = TimeLimit(0.1, lambda name, seconds: told.append((name, seconds)))
    with limit.of("k1-on"):
        end = time.monotonic() + 10
        while time.monotonic() < end and not told:
            try:
                time.sleep(0.01)
            except PassTimeout:
                continue

    assert told == [("k1-on", 0.1)]


def test_in_a_thread_it_is_told_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time_limit, "GRACE_SECONDS", 0.0)
    told = threading.Event()

    def run() -> None:
        with TimeLimit(0.1, lambda name, seconds: told.set()).of("k1-on"):
            assert told.wait(10)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(20)

    assert told.is_set()


def test_without_a_limit_nothing_happens() -> None:
    before = signal.getsignal(signal.SIGALRM)
    with TimeLimit().of("k1-on"):
        assert signal.getsignal(signal.SIGALRM) is before


def test_a_step_has_a_limit_where_the_pass_has_none() -> None:
    told: list[tuple[str, float]] = []
    limit = TimeLimit(None, lambda name, seconds: told.append((name, seconds)), of_a_step=1.0)
    with limit.of("k1-on"):
        for _ in range(6):
            time.sleep(0.2)
            limit.moved()
        assert told == []
        end = time.monotonic() + 10
        while not told and time.monotonic() < end:
            time.sleep(0.05)
    with limit.of("k2-on"):
        pass
    time.sleep(1.2)

    assert told == [("k1-on", 1.0)]
