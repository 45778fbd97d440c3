"""What is put back: random state and buffers, the Trainer's books, attributes, gradients and hooks."""

from __future__ import annotations

import random
import subprocess
import sys
from collections import defaultdict, deque
from types import SimpleNamespace
from typing import Any

import numpy
import pytest
import torch

from gacheck.watch import restoring
from gacheck.watch.restoring import RandomState, books_kept, gradients_aside, hooks_muted, undisturbed, weights_kept


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


class Restless(torch.nn.Module):
    """Counts, keeps, draws and changes its mind, at every forward."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(3))
        self.norm = torch.nn.BatchNorm1d(3)
        self.calls = 0
        self.kept: list[torch.Tensor] = []
        self.counts = torch.zeros(3)
        self.generator = torch.Generator().manual_seed(1)

    def forward(self) -> torch.Tensor:
        self.calls += 1
        drawn = torch.rand(3, generator=self.generator) + torch.rand(3)
        out = self.norm((drawn * self.weight * (1 + self.counts)).expand(2, 3))
        self.counts += 1
        self.kept.append(out)
        self.train(not self.training)
        return out

    def facts(self) -> Any:
        return self.calls, len(self.kept), self.training, self.counts.tolist(), [b.tolist() for b in self.buffers()]


def test_a_forward_within_is_that_which_would_come_next_and_changes_nothing() -> None:
    model = Restless()
    model()
    facts, kept = model.facts(), list(model.kept)
    with undisturbed(model):
        within = model()
        assert model.facts() != facts
    assert model.facts() == facts
    assert model.kept[0] is kept[0]
    assert torch.equal(model(), within)


def test_a_graph_from_before_can_be_differentiated_afterwards() -> None:
    gradients = []
    for disturbs in (False, True):
        torch.manual_seed(1)
        model = Restless()
        loss = (model() ** 2 * torch.arange(6.0).view(2, 3)).sum() + (model.weight * model.counts).sum()
        if disturbs:
            with undisturbed(model):
                model().sum().backward()
            model.zero_grad()
        loss.backward()
        gradients.append([p.grad for p in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_packed_weights_are_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restoring, "LARGE_BYTES", 8)
    model = torch.nn.Module()
    for name, dtype in (("packed", torch.int32), ("few", torch.int16), ("wide", torch.float32)):
        model.register_buffer(name, torch.zeros(3, dtype=dtype))
    before = dict(model.named_buffers())
    with undisturbed(model):
        assert {name: b is before[name] for name, b in model.named_buffers()} == {
            "packed": True,
            "few": False,
            "wide": False,
        }
    assert all(buffer is before[name] for name, buffer in model.named_buffers())


def test_buffers_that_two_modules_share_stay_shared() -> None:
    model = torch.nn.Sequential(Counting(), Counting())
    model[1].in_place = model[0].in_place
    with undisturbed(model):
        model[0]()
        assert model[1].in_place == 1
    assert model[0].in_place == 0


def trainer_with(**attributes: Any) -> SimpleNamespace:
    return SimpleNamespace(**attributes)


class Smoother:
    """A loss function with a memory."""

    def __init__(self) -> None:
        self.seen = [0.0]

    def __call__(self) -> None:
        self.seen[0] += 1.0


def test_what_the_trainer_holds_is_kept_to_the_last_object() -> None:
    smoother, teacher, model = Smoother(), Restless(), Restless()
    gradient_state = SimpleNamespace(sync_gradients=False)
    trainer = trainer_with(
        args=SimpleNamespace(seed=1),
        state=SimpleNamespace(log_history=[{"loss": 1.0}]),
        control=SimpleNamespace(should_log=False),
        accelerator=SimpleNamespace(gradient_state=gradient_state, step=0),
        label_smoother=Smoother(),
        compute_loss_func=smoother.__call__,
        teacher=teacher,
        model=model,
        model_wrapped=torch.nn.Sequential(model),
    )
    teacher().sum().backward()
    gradients = [p.grad for p in teacher.parameters()]
    values = [p.grad.clone() for p in teacher.parameters() if p.grad is not None]
    trainer.model_wrapped[0]().sum().backward()
    text, facts = repr(trainer), teacher.facts()
    with books_kept(trainer):
        trainer.args.seed = 2
        trainer.state.log_history[0]["loss"] = 2.0
        trainer.control.should_log = True
        gradient_state.sync_gradients = True
        trainer.accelerator.step += 1
        trainer.label_smoother()
        trainer.compute_loss_func()
        (teacher() + teacher()).sum().backward()  # once in either mode
        assert model.weight.grad is not None
        trained = model.facts()
        model().sum().backward()
        assert repr(trainer) != text
    assert repr(trainer) == text
    assert (smoother.seen, trainer.label_smoother.seen, teacher.facts()) == ([0.0], [0.0], facts)
    assert all(p.grad is g for p, g in zip(teacher.parameters(), gradients, strict=True))
    assert all(torch.equal(g, v) for g, v in zip((g for g in gradients if g is not None), values, strict=True))
    # The model itself is the business of `undisturbed`.
    assert model.facts() != trained


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


def test_data_and_the_model_are_left_alone() -> None:
    things = {"model": torch.nn.Linear(1, 1), "train_dataset": [1, 2], "eval_dataset": {"a": [1]}}
    trainer = trainer_with(**things)
    with books_kept(trainer):
        trainer.train_dataset.append(3)
        trainer.model.counted = 1
    assert all(getattr(trainer, name) is thing for name, thing in things.items())
    assert (trainer.train_dataset, trainer.model.counted) == ([1, 2, 3], 1)


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


# --- weights ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        lambda model: model[0].weight.data.mul_(3),
        lambda model: torch._foreach_mul_([p.data for p in model.parameters()], 2.0),
        lambda model: setattr(model[0].bias, "data", torch.zeros(2)),
        lambda model: model[1].weight.data[0].fill_(1.0),
        lambda model: torch.optim.SGD(model.parameters(), lr=0.1).step(),
    ],
    ids=["in place", "several at once", "another tensor", "a part", "an optimizer"],
)
def test_weights_that_change_within_the_block_come_back(change: Any) -> None:
    model = two_layers()
    before = [p.detach().clone() for p in model.parameters()]
    tensors = [p.data_ptr() for p in model.parameters()]
    with weights_kept(model.parameters()):
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
        change(model)
        assert not all(torch.equal(p, b) for p, b in zip(model.parameters(), before, strict=True))

    assert all(torch.equal(p, b) for p, b in zip(model.parameters(), before, strict=True))
    assert [p.data_ptr() for p in model.parameters()] == tensors


def test_weights_that_are_only_read_are_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    model = two_layers()
    monkeypatch.setattr(torch.Tensor, "clone", lambda *_: pytest.fail("a copy"))
    with weights_kept(model.parameters()):
        model(torch.ones(2, model[0].in_features)).sum().backward()
