"""The line that computes a loss is found, however the loss is written."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from gacheck.watch.loss_location import ScalarTrace

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def by_module(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return torch.nn.CrossEntropyLoss()(logits, labels)  # computed here


def by_function(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return functional.cross_entropy(logits, labels)  # computed here


def by_hand(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    scores = functional.log_softmax(logits, dim=-1)
    picked = scores.gather(-1, labels.unsqueeze(-1))
    return -picked.mean()  # computed here


def by_sum_and_count(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    total = functional.cross_entropy(logits, labels, reduction="sum")
    return total / len(labels)  # computed here


def by_division_in_place(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    loss = functional.cross_entropy(logits, labels, reduction="sum")
    loss /= len(labels)  # computed here
    return loss


def by_another(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return by_function(logits, labels)


class Model(torch.nn.Module):
    """A model that asks someone else for its loss."""

    def __init__(self, loss: Loss) -> None:
        super().__init__()
        self.head = torch.nn.Linear(4, 5)
        self.loss = loss

    def forward(self, inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        logits = self.head(inputs)
        return self.loss(logits, labels)  # asked here


class WithCriterion(Model):
    """The criterion is a module of the model: its forward is torch's, so it is no line of the model."""

    def __init__(self) -> None:
        super().__init__(by_function)
        self.criterion = torch.nn.CrossEntropyLoss()

    def forward(self, inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return self.criterion(self.head(inputs), labels)  # asked here


class Wrapped(torch.nn.Module):
    """A model within a model, as an adapter is."""

    def __init__(self, inner: Model) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return self.inner(inputs, labels)


def line_of(code: object, comment: str) -> int:
    lines, first = inspect.getsourcelines(code)  # type: ignore[arg-type]
    return next(first + i for i, line in enumerate(lines) if line.rstrip().endswith(f"# {comment}"))


def watched(model: torch.nn.Module) -> tuple[ScalarTrace, torch.Tensor]:
    with ScalarTrace(model) as watch:
        loss = model(torch.ones(3, 4), torch.tensor([0, 1, 2]))
    return watch, loss


@pytest.mark.parametrize("wrap", [False, True], ids=["alone", "within an adapter"])
@pytest.mark.parametrize("loss", [by_module, by_function, by_hand, by_sum_and_count, by_division_in_place, by_another])
def test_lines_lead_from_the_model_to_the_loss(loss: Loss, wrap: bool) -> None:
    model = Model(loss)
    watch, result = watched(Wrapped(model) if wrap else model)
    lines = watch.location_of(result)
    computing = by_function if loss is by_another else loss
    assert (lines[0].function, lines[0].line) == ("forward", line_of(Model.forward, "asked here"))
    assert (lines[-1].function, lines[-1].line) == (computing.__name__, line_of(computing, "computed here"))
    assert [line.function for line in lines[1:-1]] == (["by_another"] if loss is by_another else [])
    assert {Path(line.file) for line in lines} == {Path(__file__)}


def test_criterion_among_the_modules() -> None:
    watch, result = watched(WithCriterion())
    [line] = watch.location_of(result)
    assert (line.function, line.line) == ("forward", line_of(WithCriterion.forward, "asked here"))


def test_only_the_asked_for_scalar_counts() -> None:
    watch, loss = watched(Model(by_sum_and_count))
    assert watch.location_of(loss.clone()) == ()
    assert watch.location_of(loss) != ()
