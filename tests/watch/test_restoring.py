"""An object's attributes, and what its collections hold, come back in place and in order."""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from gacheck.watch.restoring import ObjectState


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
