"""What `backward` is called on is noted, and nothing about the call changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from gacheck.watch.backward import BackwardRoots, watching_backward


def by_method(loss: torch.Tensor) -> None:
    loss.backward()


def by_function(loss: torch.Tensor) -> None:
    torch.autograd.backward(loss)


def by_name(loss: torch.Tensor) -> None:
    torch.autograd.backward(tensors=loss, retain_graph=True)


@pytest.mark.parametrize("call", [by_method, by_function, by_name])
def test_the_loss_is_noted_however_backward_is_called(call: Callable[[torch.Tensor], None]) -> None:
    weight = torch.tensor(3.0, requires_grad=True)
    with watching_backward() as watch:
        call(2 * weight)

    assert watch.roots == [6.0]
    assert watch.loss == 6.0
    assert weight.grad == 2.0


def test_what_is_added_to_the_gradient_is_the_sum_of_the_losses() -> None:
    weight = torch.tensor(3.0, requires_grad=True)
    with watching_backward() as watch:
        (2 * weight).backward()
        (weight / 4).backward()

    assert (watch.roots, watch.loss) == ([6.0, 0.75], 6.75)
    assert weight.grad == 2.25


@pytest.mark.parametrize(
    ("roots", "loss"),
    [([], None), ([None], None), ([1.5, None], None), ([1.5], 1.5), ([1.5, -0.5], 1.0), ([0.0], 0.0)],
)
def test_a_sum_is_known_where_all_of_it_is(roots: list[float | None], loss: float | None) -> None:
    watch = BackwardRoots()
    watch.roots = roots

    assert watch.loss == loss


def test_a_loss_that_is_no_single_number_is_not_known() -> None:
    weight = torch.tensor([1.0, 2.0], requires_grad=True)
    with watching_backward() as watch:
        (3 * weight).backward(torch.ones(2))

    assert (watch.roots, watch.loss) == ([None], None)
    assert torch.equal(weight.grad, torch.tensor([3.0, 3.0]))


def test_a_factor_on_the_gradient_is_not_taken_for_one() -> None:
    # What reaches the weight is the gradient of half the loss.
    weight = torch.tensor(3.0, requires_grad=True)
    with watching_backward() as watch:
        (2 * weight).backward(gradient=torch.tensor(0.5))

    assert weight.grad == 1.0
    assert watch.loss in (None, 3.0)


def test_a_backward_within_a_backward_is_a_part_of_it() -> None:
    # Gradient checkpointing runs the forward again, and a backward of its own, within the backward of the loss.
    weight = torch.tensor([3.0], requires_grad=True)
    calls: list[Any] = []
    original = torch.autograd.backward

    def counted(*args: Any, **kwargs: Any) -> None:
        calls.append(args)
        original(*args, **kwargs)

    torch.autograd.backward = counted
    try:
        with watching_backward() as watch:
            checkpoint(torch.square, weight, use_reentrant=True).sum().backward()
            assert len(calls) > 1
            assert watch.roots == [9.0]
            weight.sum().backward()
    finally:
        torch.autograd.backward = original

    assert watch.roots == [9.0, 3.0]
    assert weight.grad == 7.0


def test_after_a_backward_that_failed_the_next_is_noted() -> None:
    weight = torch.tensor(3.0, requires_grad=True)
    with watching_backward() as watch:
        with pytest.raises(RuntimeError, match="does not require grad"):
            torch.tensor(1.0).backward()
        weight.backward()

    assert watch.roots == [1.0, 3.0]


def test_torch_has_its_backward_back_whatever_happens() -> None:
    before = torch.autograd.backward

    def fail() -> None:
        with watching_backward():
            assert torch.autograd.backward is not before
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert torch.autograd.backward is before


def test_what_comes_after_the_block_is_not_noted() -> None:
    weight = torch.tensor(3.0, requires_grad=True)
    with watching_backward() as watch:
        pass
    weight.backward()

    assert watch.roots == []
