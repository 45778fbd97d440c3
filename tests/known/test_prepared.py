"""Micro-batches that are no mappings of names to tensors.

Lists of which the Trainer's own `_prepare_inputs` makes tensors, GRPO in small; lists that stay lists, mappings of
mappings, and objects of a kind of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from transformers import Trainer

import gacheck
from tests.known import bodies
from tests.known.training import Training

pytestmark = pytest.mark.usefixtures("no_traces")


class Draws(Trainer):  # type: ignore[misc]
    """Its loss is a mean over rows that are drawn for the prompts."""

    loss_is_scaled_for_ga = False
    factor = 1.0

    def _prepare_inputs(self, inputs: Any) -> Any:
        if not isinstance(inputs, list):
            return super()._prepare_inputs(inputs)
        drawn = torch.randint(1, 20, (len(inputs), 6))
        return {"input_ids": drawn, "wanted": drawn.float().mean(1)}

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **kwargs: Any) -> Any:
        logits = model(input_ids=inputs["input_ids"]).logits
        return self.factor * (logits.mean((1, 2)) - inputs["wanted"]).square().mean()


class TimesK(Draws):
    """Its loss is k times too large."""

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **kwargs: Any) -> Any:
        return super().compute_loss(model, inputs) * self.args.gradient_accumulation_steps


class GradientTwice(Draws):
    """Its gradient alone is twice too large."""

    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        loss = super().training_step(*args, **kwargs)
        for parameter in self.model.parameters():
            if parameter.grad is not None and self.accelerator.sync_gradients:
                parameter.grad.mul_(2)
        return loss


def training(trainer: type[Trainer]) -> Training:
    return Training(trainer=trainer, model=bodies.llama, collator=list)


class OfAnyKind(Trainer):  # type: ignore[misc]
    """Its loss is a mean over the micro-batch, of which it makes tensors itself."""

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **kwargs: Any) -> Any:
        ids = self.tokens(inputs)
        logits = model(input_ids=ids).logits
        return self.scale() * (logits.mean((1, 2)) - ids.float().mean(1)).square().mean()

    def tokens(self, inputs: Any) -> torch.Tensor:
        if isinstance(inputs, list):
            return torch.stack([torch.tensor(row["input_ids"][:4]) for row in inputs])
        ids: torch.Tensor = inputs["sides"][0]["input_ids"] if "sides" in inputs else inputs["batch"].ids
        return ids

    def scale(self) -> float:
        return 1.0


class OfAnyKindTimesK(OfAnyKind):
    """It is k times too large."""

    def scale(self) -> float:
        return float(self.args.gradient_accumulation_steps)


@dataclass
class Own:
    """A micro-batch of a class of its own."""

    ids: torch.Tensor


def first_tokens(rows: Any) -> torch.Tensor:
    return torch.stack([torch.tensor(row["input_ids"][:4]) for row in rows])


COLLATORS = {
    "a list of rows": list,
    "a list of mappings in a mapping": lambda rows: {"sides": [{"input_ids": first_tokens(rows)}], "weight": 2.0},
    "an object of a class of its own": lambda rows: {"batch": Own(first_tokens(rows))},
}


@pytest.mark.parametrize("kind", COLLATORS)
@pytest.mark.parametrize(
    ("trainer", "code"), [(OfAnyKind, "OTHER_OBJECTIVE"), (OfAnyKindTimesK, "SCALED_BY_ACCUMULATION")]
)
def test_inputs_of_any_kind_are_judged(kind: str, trainer: type[Trainer], code: str) -> None:
    analysis = gacheck.check(Training(trainer=trainer, model=bodies.llama, collator=COLLATORS[kind]).make())

    assert analysis.verdict.code == code, analysis.verdict.words


@pytest.mark.parametrize(
    ("trainer", "code"),
    [(Draws, "OTHER_OBJECTIVE"), (TimesK, "SCALED_BY_ACCUMULATION"), (GradientTwice, "UNEXPLAINED")],
)
def test_it_is_judged_by_what_compute_loss_is_given(trainer: type[Trainer], code: str) -> None:
    analysis = gacheck.check(training(trainer).make())

    assert analysis.verdict.code == code, analysis.verdict.words


def test_what_is_drawn_is_drawn_as_it_is_alone() -> None:
    weights = []
    for watched in (False, True):
        torch.manual_seed(5)
        trainer = training(Draws).make()
        if watched:
            gacheck.attach(trainer)
        trainer.train()
        weights.append(torch.cat([p.detach().flatten() for p in trainer.model.parameters()]))

    assert torch.equal(*weights)
