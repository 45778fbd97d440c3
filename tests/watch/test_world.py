"""What processes tell each other: two real ones, and one that waits for another that says nothing."""

from __future__ import annotations

import itertools
import json
import math
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import torch.distributed

from gacheck.watch import world
from gacheck.watch.world import World

# What each of two processes does, one after the other, and says at the end on one line: {act: {name: value}}.
MAIN = """
import itertools, json, math, sys, time
from datetime import timedelta
import torch.distributed
from gacheck.watch import world
from gacheck.watch.world import World

def both_answer(rank):
    first, second = World(), World()
    said = [first.exchange({"rank": rank, "loss": [math.nan, -math.inf][rank], "text": "–"}) for _ in range(2)]
    # Another watch of the same processes has a conversation of its own.
    said.append(second.exchange([rank * 10]))
    return {"said": said, "size": first.size, "rank": first.rank}

def beside_collectives(rank):
    own, sums = World(), []
    for step in range(3):
        total = torch.tensor(rank + 1.0)
        torch.distributed.all_reduce(total)
        sums.append(float(total))
        own.exchange({"step": step})
    return {"sums": sums}

def one_is_silent(rank):
    world.PATIENCE = timedelta(seconds=3)
    own, started = World(), time.monotonic()
    said = [own.exchange(rank), own.exchange(rank), World().exchange(rank)] if rank == 0 else []
    return {"said": said, "seconds": time.monotonic() - started}

def one_goes_silent(rank):
    world.PATIENCE = timedelta(seconds=4)
    own = World()
    said = [own.exchange(rank)]
    return {"said": said + ([own.exchange(rank)] if rank == 1 else [])}

def one_is_late(rank):
    world.PATIENCE = timedelta(seconds=1)
    time.sleep(5 * rank)
    return {"said": [World().exchange(rank)]}

rank, port = int(sys.argv[1]), sys.argv[2]
torch.distributed.init_process_group(
    "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2, timeout=timedelta(seconds=90)
)
told = {}
for number, act in enumerate((both_answer, beside_collectives, one_is_silent, one_goes_silent, one_is_late)):
    # As in processes in which nobody has spoken yet.
    World._numbers, World._somebody_is_silent = itertools.count(10 * number), False
    told[act.__name__] = act(rank)
    torch.distributed.barrier()
print(json.dumps(told))
# Rank 0 holds the store: it goes last.
torch.distributed.barrier()
if rank == 0:
    time.sleep(0.2)
torch.distributed.destroy_process_group()
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def told() -> list[dict[str, Any]]:
    """Run two processes that torch.distributed has joined; return what each says, by rank."""
    port = str(free_port())
    started = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", MAIN, str(rank), port],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        for rank in range(2)
    ]
    try:
        said = [process.communicate(timeout=120) for process in started]
    finally:
        for process in started:
            process.kill()
    assert [process.returncode for process in started] == [0, 0], said
    return [json.loads(out.splitlines()[-1]) for out, _ in said]


def test_each_gets_the_facts_of_all_by_rank(told: list[dict[str, Any]]) -> None:
    for rank, done in enumerate(each["both_answer"] for each in told):
        assert (done["rank"], done["size"]) == (rank, 2)
        first, again, other = done["said"]
        assert [facts["rank"] for facts in first] == [0, 1]
        assert [facts["text"] for facts in first] == ["–", "–"]
        assert math.isnan(first[0]["loss"])
        assert first[1]["loss"] == -math.inf
        assert repr(again) == repr(first)
        assert other == [[0], [10]]


def test_one_that_never_answers_is_waited_for_once(told: list[dict[str, Any]]) -> None:
    asked, silent = (each["one_is_silent"] for each in told)

    assert asked["said"] == [None, None, None]
    # Once, and no more: not in the next training either.
    assert 2.9 < asked["seconds"] < 5.9
    assert silent["said"] == []


def test_one_that_answers_no_more_is_missed(told: list[dict[str, Any]]) -> None:
    assert [each["one_goes_silent"] for each in told] == [{"said": [[0, 1]]}, {"said": [[0, 1], None]}]


def test_collective_calls_of_the_training_are_not_mixed_up_with_it(told: list[dict[str, Any]]) -> None:
    assert [each["beside_collectives"]["sums"] for each in told] == [[3.0] * 3] * 2


def test_a_process_alone_speaks_to_itself() -> None:
    alone = World()
    facts = {"loss": object()}

    assert (alone.rank, alone.size) == (0, 1)
    said = alone.exchange(facts)
    assert said is not None
    # No JSON on the way.
    assert said[0] is facts


class Store:
    """Keeps what is set; fails where it is told to."""

    def __init__(self, fails: str = "", **held: str) -> None:
        self.held = held
        self.num_waits = 0
        self._fails = fails

    def set(self, key: str, value: str) -> None:
        if self._fails == "set":
            raise RuntimeError("connection reset")
        self.held[key] = value
        if key.endswith("/1/end"):  # rank 0 has heard all that rank 1 has
            self.held.setdefault(f"{key.removesuffix('/1/end')}/0/end", value)

    def wait(self, keys: list[str], patience: timedelta) -> None:
        self.num_waits += 1
        if any(key not in self.held for key in keys):
            raise RuntimeError("wait timeout")

    def check(self, keys: list[str]) -> bool:
        if self._fails == "wait":
            raise RuntimeError("connection reset")
        return all(key in self.held for key in keys)

    def get(self, key: str) -> bytes:
        if self._fails == "get":
            raise RuntimeError("connection reset")
        return self.held[key].encode()


@pytest.fixture
def joined(monkeypatch: pytest.MonkeyPatch) -> Callable[[Store | None], World]:
    """Make what rank 1 of 2 has, as in a process in which nobody has spoken yet."""
    monkeypatch.setattr(World, "_numbers", itertools.count())
    monkeypatch.setattr(World, "_somebody_is_silent", False)
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 1)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)

    def join(store: Store | None) -> World:
        monkeypatch.setattr(world, "_default_store", lambda: store)
        return World()

    return join


Join = Callable[[Store | None], World]


def test_trainings_are_numbered_as_they_begin_to_speak(joined: Join) -> None:
    # The first that was made never speaks, as of a Trainer that is watched and not trained.
    store = Store(**{"gacheck/0/1/0": "1", "gacheck/0/2/0": "2", "gacheck/1/1/0": "3"})
    _, second, third = joined(store), joined(store), joined(store)

    assert [third.exchange(10), third.exchange(20), second.exchange(30)] == [[1, 10], [2, 20], [3, 30]]
    assert store.held.keys() >= {"gacheck/0/1/1", "gacheck/1/1/1"}


def test_one_that_left_out_exchanges_is_not_mistaken(joined: Join) -> None:
    store = Store(**{"gacheck/0/end of k2/0": "1", "gacheck/0/1/0": "2"})
    own = joined(store)

    assert own.exchange(10, about="end of k2") == [1, 10]
    assert own.exchange(20) == [2, 20]


@pytest.mark.parametrize("fails", ["set", "get", "wait"])
def test_a_lost_store_is_asked_no_more(joined: Join, fails: str) -> None:
    store = Store(fails, **({} if fails == "wait" else {"gacheck/0/1/0": "1"}))
    own = joined(store)

    assert own.exchange(10) is None
    waited = store.num_waits
    store.held = {f"gacheck/{number}/1/0": "1" for number in range(4)}
    assert own.exchange(10) is None
    assert joined(store).exchange(10) is None
    assert store.num_waits == waited


def test_without_a_store_nobody_answers(joined: Join) -> None:
    own = joined(None)

    assert (own.size, own.rank) == (2, 1)
    assert own.exchange(10) is None


def test_patience_is_short_beside_a_training_and_long_beside_an_answer() -> None:
    assert timedelta(seconds=1) <= world.PATIENCE <= timedelta(seconds=5)


def test_one_that_comes_when_another_has_given_up_gives_up_too(told: Any) -> None:
    assert [each["one_is_late"]["said"] for each in told] == [[None], [None]]
