"""What is put back: random state and buffers, the Trainer's books, an object's attributes and what they hold."""

from __future__ import annotations

import random
import subprocess
import sys
from collections import OrderedDict, defaultdict, deque
from types import SimpleNamespace
from typing import Any

import numpy
import pytest
import torch

from gacheck.watch.restoring import ObjectState, RandomState, books_kept, gradients_aside, hooks_muted, undisturbed


def draw() -> tuple[float, float, float]:
    return random.random(), float(numpy.random.random()), float(torch.rand(()))


def test_a_state_is_put_back_in_every_generator() -> None:
    state = RandomState.now(torch.nn.Linear(1, 1))
    first = draw()
    assert all(a != b for a, b in zip(first, draw(), strict=True))
    state.restore()
    assert draw() == first


def test_a_block_repeats_what_came_from_its_start_and_what_follows_is_undisturbed() -> None:
    model = torch.nn.Linear(1, 1)
    start = RandomState.now(model)
    first, second = draw(), draw()
    start.restore()
    assert draw() == first
    with undisturbed(model, start):
        assert draw() == first
    assert draw() == second


def test_by_default_a_block_draws_what_would_come_next() -> None:
    model = torch.nn.Linear(1, 1)
    with undisturbed(model):
        within = draw()
    assert draw() == within


def test_where_numpy_is_not_loaded_it_stays_so() -> None:
    # torch loads it where it is installed; a finder without it makes a process that has none.
    code = """
import sys
sys.modules["numpy"] = None
import torch
from gacheck.watch.restoring import RandomState
state = RandomState.now(torch.nn.Linear(1, 1))
first = torch.rand(())
state.restore()
assert torch.equal(torch.rand(()), first)
assert state.of_numpy is None
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr


class Counting(torch.nn.Module):
    """Changes its buffers with every forward: one in place, one by another tensor in its place."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("in_place", torch.zeros(()))
        self.register_buffer("replaced", torch.zeros(()))

    def forward(self) -> None:
        self.in_place += 1
        self.replaced = self.replaced + 1


def test_buffers_come_back_also_where_a_forward_replaces_them_and_after_an_error() -> None:
    model = Counting()
    model()
    before = torch.get_rng_state()

    def disturb() -> None:
        with undisturbed(model):
            model()
            draw()
            assert (model.in_place, model.replaced) == (2, 2)
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        disturb()
    assert (model.in_place, model.replaced) == (1, 1)
    assert torch.equal(torch.get_rng_state(), before)


class Nothing:
    """No number and no collection."""


def trainer_with(**attributes: Any) -> SimpleNamespace:
    return SimpleNamespace(**attributes)


@pytest.mark.parametrize(
    ("before", "change"),
    [
        (0, lambda t: setattr(t, "book", 7)),
        ("train", lambda t: setattr(t, "book", "eval")),
        (None, lambda t: setattr(t, "book", 1.0)),
        ([1.0], lambda t: t.book.append(2.0)),
        ({"loss": [1.0]}, lambda t: t.book["loss"].append(2.0)),
        ({"train": {"loss": [1.0]}}, lambda t: t.book["train"].clear()),
        (deque([1]), lambda t: t.book.append(2)),
        ({1}, lambda t: t.book.add(2)),
        (torch.tensor(1.0), lambda t: t.book.add_(1)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_books_are_kept(before: Any, change: Any) -> None:
    trainer = trainer_with(book=before)
    text = repr(before)
    with books_kept(trainer):
        change(trainer)
        assert repr(trainer.book) != text
    assert repr(trainer.book) == text


def test_a_book_that_makes_its_own_entries_still_does() -> None:
    trainer = trainer_with(book={"train": defaultdict(list)})
    with books_kept(trainer):
        trainer.book["train"]["loss"].append(1.0)
    assert trainer.book == {"train": {}}
    trainer.book["train"]["loss"].append(2.0)
    assert trainer.book == {"train": {"loss": [2.0]}}


def test_books_come_back_after_an_error() -> None:
    trainer = trainer_with(book=[])

    def fail() -> None:
        with books_kept(trainer):
            trainer.book.append(1)
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert trainer.book == []


def test_what_somebody_else_holds_as_well_stays_the_same_thing() -> None:
    # A callback that was given the Trainer's list reads from it what the training goes on to write.
    trainer = trainer_with(book=[1.0])
    held = trainer.book
    with books_kept(trainer):
        trainer.book.append(2.0)
    trainer.book.append(3.0)
    assert held == [1.0, 3.0]


def test_models_data_and_large_tensors_are_not_copied() -> None:
    things = {"model": torch.nn.Linear(1, 1), "tensor": torch.zeros(2), "mixed": [1, Nothing()], "thing": Nothing()}
    trainer = trainer_with(**things)
    with books_kept(trainer):
        trainer.tensor += 1
    assert all(getattr(trainer, name) is thing for name, thing in things.items())
    assert trainer.tensor.tolist() == [1, 1]


def test_attributes_come_back_and_new_ones_go() -> None:
    thing = SimpleNamespace(first=1, second="two", third=None)
    state = ObjectState(thing)
    del thing.first
    thing.second, thing.fourth = 2, 4
    state.restore()
    assert vars(thing) == {"first": 1, "second": "two", "third": None}
    assert list(vars(thing)) == ["first", "second", "third"]


@pytest.mark.parametrize(
    "held",
    [
        [1, [2, [3]]],
        {"a": {"b": [1]}},
        ({"a": 1}, [2]),
        {1, 2},
        deque([1, 2], maxlen=2),
        OrderedDict(a=1, b=2),
        defaultdict(list, a=[1]),
        [torch.tensor(1.0)],
    ],
    ids=lambda value: type(value).__name__,
)
def test_collections_come_back_to_the_bottom_and_stay_the_same_things(held: Any) -> None:
    thing = SimpleNamespace(held=held)
    before = repr(held)
    state = ObjectState(thing)
    _change(held)
    thing.held = "another"
    assert repr(held) != before
    state.restore()
    assert thing.held is held
    assert repr(held) == before


def _change(value: Any) -> None:
    """Change whatever can be, from the bottom up."""
    if isinstance(value, torch.Tensor):
        value += 1
        return
    for item in list(value.values() if isinstance(value, dict) else value):
        if not isinstance(item, int):
            _change(item)
    if isinstance(value, dict):
        first = next(iter(value))
        value[first] = value.pop(first)
        value["new"] = 0
    elif isinstance(value, set):
        value.add("new")
    elif not isinstance(value, tuple):
        value.append("new")


def test_what_holds_itself_is_no_trap() -> None:
    ring: list[Any] = [1]
    ring.append(ring)
    state = ObjectState(SimpleNamespace(ring=ring))
    ring.clear()
    state.restore()
    assert (ring[0], ring[1] is ring) == (1, True)


class Scaled(torch.nn.Module):
    """A weight, a buffer and an attribute, each a single number on a tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(1.0))
        self.register_buffer("count", torch.tensor(1.0))
        self.meter = torch.tensor(1.0)


def test_of_a_module_weights_and_buffers_keep_their_values() -> None:
    model = Scaled()
    tensors = (model.weight, model.count, model.meter)
    state = ObjectState(model)
    with torch.no_grad():
        for tensor in tensors:
            tensor += 1
    model.count = torch.tensor(7.0)
    state.restore()
    assert (model.weight, model.count, model.meter) == (2, 2, 1)
    assert all(now is before for now, before in zip((model.weight, model.count, model.meter), tensors, strict=True))


def test_a_number_that_nobody_wrote_to_can_still_be_differentiated_by() -> None:
    thing = SimpleNamespace(scale=torch.tensor(2.0))
    weight = torch.nn.Parameter(torch.tensor(3.0))
    state = ObjectState(thing)
    loss = weight * thing.scale
    state.restore()
    loss.backward()
    assert weight.grad == 2


def two_layers() -> torch.nn.Sequential:
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 1))
    model(torch.ones(1, 2)).sum().backward()
    return model


def test_gradients_are_aside_within_the_block_and_the_same_tensors_afterwards() -> None:
    model = two_layers()
    model[0].bias.grad = None
    before = [p.grad for p in model.parameters()]
    values = [None if g is None else g.clone() for g in before]
    with gradients_aside(model):
        assert [p.grad for p in model.parameters()] == [None] * 4
        model(torch.ones(1, 2)).sum().backward()
        assert all(p.grad is not None for p in model.parameters())
    assert all(p.grad is g for p, g in zip(model.parameters(), before, strict=True))
    assert all(g is v is None or torch.equal(g, v) for g, v in zip(before, values, strict=True))


def test_gradients_come_back_after_an_error() -> None:
    model = two_layers()
    before = [p.grad for p in model.parameters()]

    def fail() -> None:
        with gradients_aside(model):
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert all(p.grad is g for p, g in zip(model.parameters(), before, strict=True))


def hook_everywhere(model: torch.nn.Sequential, called: list[str]) -> list[Any]:
    """Put a hook on all that can have one that waits for a gradient; return their handles."""
    weight = model[0].weight
    return [
        weight.register_hook(lambda gradient: called.append("gradient")),
        weight.register_hook(lambda gradient: called.append("gradient again")),
        weight.register_post_accumulate_grad_hook(lambda parameter: called.append("accumulated")),
        model[1].register_full_backward_hook(lambda *_: called.append("module")),
        model[1].register_full_backward_pre_hook(lambda *_: called.append("before module")),
        torch.nn.modules.module.register_module_full_backward_hook(lambda *_: called.append("any")),
        torch.nn.modules.module.register_module_full_backward_pre_hook(lambda *_: called.append("before any")),
    ]


def test_hooks_are_muted_within_the_block_and_act_in_their_order_afterwards() -> None:
    model, called = two_layers(), list[str]()
    handles = hook_everywhere(model, called)

    def train() -> list[str]:
        called.clear()
        model(torch.ones(1, 2)).sum().backward()
        return list(called)

    try:
        before = train()
        assert set(before) >= {
            "gradient",
            "gradient again",
            "accumulated",
            "module",
            "before module",
            "any",
            "before any",
        }
        with hooks_muted(model):
            assert train() == []
        assert train() == before
        with pytest.raises(RuntimeError, match="stop"), hooks_muted(model):
            raise RuntimeError("stop")
        assert train() == before
    finally:
        for handle in handles:
            handle.remove()
    assert train() == []


def test_a_hook_of_the_block_acts_and_goes_with_it() -> None:
    model, called = two_layers(), list[str]()
    model[0].weight.register_hook(lambda gradient: called.append("theirs"))
    with hooks_muted(model):
        model[0].weight.register_hook(lambda gradient: called.append("ours"))
        model(torch.ones(1, 2)).sum().backward()
        assert called == ["ours"]
    model(torch.ones(1, 2)).sum().backward()
    assert called == ["ours", "theirs"]


def test_hooks_on_a_forward_stay() -> None:
    model, called = two_layers(), list[str]()
    model.register_forward_hook(lambda *_: called.append("forward"))
    with hooks_muted(model):
        model(torch.ones(1, 2))
    assert called == ["forward"]
