"""Objectives of a few lines on rows of numbers: a bare Trainer at k, against k = 1, says whether they are right."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import nn
from transformers import Trainer, TrainingArguments

import gacheck
from tests.known.doors import watch
from tests.known.quiet import QUIET

pytestmark = pytest.mark.usefixtures("no_traces")

WIDTH, ROWS, K = 4, 8, 4
RATE = 1.0
SAME = 1e-4
Loss = Callable[["Small", Any, Any, Any], torch.Tensor]


class Net(nn.Module):
    """One matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Linear(WIDTH, 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.line(x)[:, 0]
        return found


def row(number: int) -> dict[str, torch.Tensor]:
    """Each counts as many things as its number, some are of a kind and some are not."""
    generator = torch.Generator().manual_seed(number)
    x = torch.randn(WIDTH, generator=generator)
    return {
        "x": x,
        "y": x.sum() + number,
        "things": torch.tensor(float(1 + 3 * number)),
        "kind": torch.tensor(number % 2),
    }


class Small(Trainer):  # type: ignore[misc]
    """Has a loss of a few lines, and perhaps a count of its own."""

    def __init__(self, *args: Any, loss: Loss, count: Callable[[list[Any]], float] | None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.loss, self.count = loss, count
        self.teacher = copy.deepcopy(self.model)

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
        batches, given = super().get_batch_samples(*args, **kwargs)
        return batches, given if self.count is None else torch.tensor(self.count(batches))

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        loss = self.loss(self, model, inputs, num_items_in_batch)
        return (loss, {}) if return_outputs else loss


@dataclass(frozen=True)
class Case:
    """A training; `code` is None where it is right."""

    loss: Loss
    code: str | None = None
    count: Callable[[list[Any]], float] | None = None
    flag: bool = False
    rows: int = ROWS
    whole: dict[str, Any] = field(default_factory=dict)

    def trainer(self, **options: Any) -> Small:
        torch.manual_seed(0)
        given = {"per_device_train_batch_size": ROWS // K, "gradient_accumulation_steps": K, "max_steps": 2, **options}
        arguments = TrainingArguments(
            tempfile.mkdtemp(),
            optim="sgd",
            learning_rate=RATE,
            lr_scheduler_type="constant",
            max_grad_norm=0.0,
            logging_steps=1,
            train_sampling_strategy="sequential",
            **QUIET,
            **given,
        )
        rows = [row(number) for number in range(self.rows)]
        trainer = Small(Net(), arguments, train_dataset=rows, loss=self.loss, count=self.count)
        trainer.model_accepts_loss_kwargs = self.flag
        return trainer

    def gradient(self, **options: Any) -> torch.Tensor:
        """Return what the weights of a bare Trainer moved along in its first step."""
        trainer = self.trainer(max_steps=1, **options)
        before = trainer.model.line.weight.detach().clone()
        trainer.train()
        moved: torch.Tensor = (before - trainer.model.line.weight.detach()) / RATE
        return moved

    @property
    def is_right(self) -> bool:
        """Whether the step is that of k = 1."""
        right = self.gradient(per_device_train_batch_size=self.rows, gradient_accumulation_steps=1)
        return float((self.gradient() - right).norm()) <= SAME * float(right.norm())


def errors(model: Any, inputs: Any) -> torch.Tensor:
    found: torch.Tensor = (model(inputs["x"]) - inputs["y"]).square()
    return found


def mean(trainer: Small, model: Any, inputs: Any, count: Any) -> torch.Tensor:
    return errors(model, inputs).mean()


def over_batch_size(trainer: Small, model: Any, inputs: Any, count: Any) -> torch.Tensor:
    size: int = trainer.args.per_device_train_batch_size
    return errors(model, inputs).sum() / size


def by_kind(trainer: Small, model: Any, inputs: Any, count: Any) -> torch.Tensor:
    """A sum of two means: there is one of each kind in a micro-batch."""
    each = errors(model, inputs)
    return torch.stack([each[inputs["kind"] == kind].mean() for kind in (0, 1) if (inputs["kind"] == kind).any()]).sum()


def over_count(trainer: Small, model: Any, inputs: Any, count: Any) -> torch.Tensor:
    """The sum over a count, or by itself where it is handed none."""
    total: torch.Tensor = (errors(model, inputs) * inputs["things"]).sum()
    return total if count is None else total.div(count)


def following(trainer: Small, model: Any, inputs: Any, count: Any) -> torch.Tensor:
    """Is pulled to a second model, which follows the first."""
    with torch.no_grad():
        for slow, fast in zip(trainer.teacher.parameters(), model.parameters(), strict=True):
            slow.lerp_(fast, 0.1)
        aim = trainer.teacher(inputs["x"])
    pulled: torch.Tensor = (model(inputs["x"]) - aim).square()
    return (errors(model, inputs) + pulled).mean()


def things(batches: list[Any]) -> float:
    return float(sum(float(batch["things"].sum()) for batch in batches))


CASES = {
    "a mean over rows": Case(mean),
    "a mean over rows, the last micro-batch short of one": Case(mean, "MEAN_OF_MEANS", rows=7),
    "a sum over the size of a micro-batch": Case(over_batch_size),
    "a sum of two means": Case(by_kind),
    "a count of its own": Case(over_count, count=things, flag=True),
    "a count of its own, divided by k besides": Case(over_count, "DIVIDED_TWICE", count=things),
    "a count that is always the same": Case(over_count, count=lambda batches: 80.0, flag=True),
    "a count that is always the same, divided by k besides": Case(
        over_count, "DIVIDED_TWICE", count=lambda batches: 80.0
    ),
    "a count that is kept from being small": Case(
        over_count, count=lambda batches: max(things(batches), 30.0), flag=True
    ),
    "a count of micro-batches": Case(over_count, "DIVIDED_TWICE", count=lambda batches: float(len(batches)), flag=True),
}


@pytest.mark.parametrize("name", CASES)
def test_the_verdict_is_what_k_1_demands(name: str) -> None:
    case = CASES[name]
    verdict = gacheck.check(case.trainer()).verdict

    assert case.is_right == (case.code is None)
    if case.code is None:
        assert verdict.severity == "ok", verdict.words
    else:
        assert verdict.code == case.code, verdict.words


def test_a_second_model_is_put_back() -> None:
    alone, watched = Case(following).trainer(), Case(following).trainer()
    alone.train()
    analysis = watch(watched)

    assert analysis.ok, analysis.verdict.words
    for one, other in zip((alone.model, alone.teacher), (watched.model, watched.teacher), strict=True):
        assert one.line.weight.equal(other.line.weight)


def test_a_loss_of_chance_says_nothing_of_the_size_of_a_batch() -> None:
    def noisy(trainer: Small, model: Any, inputs: Any, count: Any) -> torch.Tensor:
        return (errors(model, inputs) + torch.rand(len(inputs["x"]))).mean()

    for loss, is_asked in ((mean, True), (noisy, False)):
        trainer = Case(loss).trainer()
        trainer.eval_dataset = [row(0)]
        trainer.label_names = ["y"]
        assert (gacheck.check(trainer).record.oracle.evaluation is not None) == is_asked
