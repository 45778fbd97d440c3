"""Trainings that repeating proves nothing of, or that work on their weights: left as they are, and not accused."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest
import torch
from transformers import LlamaForCausalLM, Trainer

from tests.known.bodies import llama
from tests.known.doors import check, watch
from tests.known.training import Training
from tests.measure.modelling import same_weights, weights_of

pytestmark = pytest.mark.usefixtures("no_traces")


class LooksAhead(Trainer):  # type: ignore[misc]
    """Takes the gradient where the loss is larger: Foret et al., "Sharpness-aware minimization" (2021)."""

    radius = 0.05

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        parameters = [p for p in model.parameters() if p.requires_grad]
        before = [p.grad for p in parameters]
        for parameter in parameters:
            parameter.grad = None
        super().training_step(model, dict(inputs), num_items_in_batch)
        norm = torch.stack([p.grad.norm() for p in parameters]).norm()
        steps = [self.radius * p.grad / norm for p in parameters]
        with torch.no_grad():
            for parameter, step in zip(parameters, steps, strict=True):
                parameter.add_(step)
                parameter.grad = None
        loss: torch.Tensor = super().training_step(model, inputs, num_items_in_batch)
        with torch.no_grad():
            for parameter, step, earlier in zip(parameters, steps, before, strict=True):
                parameter.sub_(step)
                if earlier is not None:
                    parameter.grad.add_(earlier)
        return loss


class UpdatesAtOnce(Trainer):  # type: ignore[misc]
    """Updates every weight as soon as it has its gradient, which it frees."""

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        loss: torch.Tensor = super().training_step(model, inputs, num_items_in_batch)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.sub_(1e-3 * parameter.grad)
                parameter.grad = None
        return loss


class FollowsItself(LlamaForCausalLM):  # type: ignore[misc]
    """Has a second head that follows the first at every forward."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.teacher = torch.nn.Parameter(self.lm_head.weight.detach().clone(), requires_grad=False)

    def forward(self, input_ids: Any = None, attention_mask: Any = None, labels: Any = None, **kwargs: Any) -> Any:
        with torch.no_grad():
            self.teacher.mul_(0.9).add_(self.lm_head.weight, alpha=0.1)
        return super().forward(input_ids=input_ids, attention_mask=attention_mask, labels=labels, **kwargs)


WEIGHTS = count(1)
"""Belongs to neither model nor Trainer, so that nobody puts it back."""


class FromOutside(Trainer):  # type: ignore[misc]
    """Weighs what it is asked by something that is never the same twice."""

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **kwargs: Any) -> Any:
        loss, outputs = super().compute_loss(model, inputs, return_outputs=True, **kwargs)
        loss = loss * next(WEIGHTS)
        return (loss, outputs) if return_outputs else loss


def follows_itself() -> Any:
    return llama(FollowsItself)


@pytest.mark.parametrize(
    "training",
    [Training(LooksAhead), Training(UpdatesAtOnce), Training(model=follows_itself)],
    ids=["looks ahead", "updates at once", "follows itself"],
)
def test_weights_that_change_within_a_step_stay_those_of_the_training(training: Training) -> None:
    alone, watched = training.make(), training.make()
    alone.train()
    analysis = watch(watched)

    assert same_weights(weights_of(alone.model), weights_of(watched.model))
    losses = [[entry["loss"] for entry in t.state.log_history if "loss" in entry] for t in (alone, watched)]
    assert losses[0] == losses[1]
    assert analysis.verdict.severity != "fail" or training.trainer is UpdatesAtOnce


def test_gradients_that_an_update_has_freed_are_not_judged() -> None:
    verdict = check(Training(UpdatesAtOnce, arguments={"gradient_accumulation_steps": 1})).verdict

    assert (verdict.code, verdict.severity) == ("INCONCLUSIVE", "inconclusive")
    assert "weights are updated within training_step" in verdict.words.cause


def test_an_update_at_every_micro_batch_is_a_fault_of_the_gradient() -> None:
    verdict = check(Training(UpdatesAtOnce)).verdict

    assert (verdict.code, verdict.affects) == ("UNEXPLAINED", "gradient")
    assert any("weights are updated within training_step" in note for note in verdict.words.notes)


def test_a_training_that_is_not_the_same_twice_is_not_judged() -> None:
    verdict = check(Training(FromOutside)).verdict

    assert (verdict.code, verdict.severity) == ("INCONCLUSIVE", "inconclusive")
    assert verdict.words.summary == "the training is not the same twice"
    assert "generator" in verdict.words.fix
