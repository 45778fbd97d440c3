"""The right steps of what is trained without labels, beside `unlabelled`, which is what is tried."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from tests.trials.batches import Pads
from tests.trials.heads import picked
from tests.trials.right_steps import Batch, RightPart, Step, row_mean
from tests.trials.unlabelled import KINDS_OF_REWARD, NEW_TOKENS, without_labels


def _logits(model: Any, batch: Batch, step: Step) -> torch.Tensor:
    logits: torch.Tensor = step.outputs(model, batch)["logits"].double()
    return logits


def _mean_of_logits(model: Any, batch: Batch, step: Step) -> torch.Tensor:
    logits, seen = _logits(model, batch, step), batch["attention_mask"].double()
    mean: torch.Tensor = torch.einsum("rtv,rt->rv", logits, seen) / seen.sum(1, keepdim=True)
    return mean


def rewarded(model: Any, batch: Batch, step: Step) -> torch.Tensor:
    """Mean over pairs of −log σ(score of the chosen − score of the rejected)."""
    scores = [
        _logits(model, {name: batch[f"{name}_{side}"] for name in ("input_ids", "attention_mask")}, step)[:, 0]
        for side in ("chosen", "rejected")
    ]
    pairs = sum(len(each["input_ids_chosen"]) for each in step.batches)
    return torch.nn.functional.softplus(scores[1] - scores[0]).sum() / pairs


def told_apart(model: Any, batch: Batch, step: Step) -> torch.Tensor:
    """Mean over the micro-batches of: which of its positives belongs to which anchor."""
    anchors, positives = (_mean_of_logits(model, batch[side], step) for side in ("anchor", "positive"))
    likeness = torch.log_softmax(anchors @ positives.T, -1)
    return -likeness.diagonal().mean() / len(step.batches)


def triplets(margin: float) -> RightPart:
    """Mean over rows of softplus(margin + distance to the right answer − distance to the wrong one)."""

    def part(model: Any, batch: Batch, step: Step) -> torch.Tensor:
        query, right, wrong = (_mean_of_logits(model, each, step) for each in (batch["query"], *batch["documents"]))
        distances = [(query - each).square().sum(1) for each in (right, wrong)]
        rows = sum(len(each["query"]["input_ids"]) for each in step.batches)
        return torch.nn.functional.softplus(margin + distances[0] - distances[1]).sum() / rows

    return part


def _divergence(teacher: Any, model: Any, batch: Batch, step: Step) -> torch.Tensor:
    with torch.no_grad():
        wanted = torch.log_softmax(_logits(teacher, batch, step), -1)
    logs = torch.log_softmax(_logits(model, batch, step), -1)
    divergence: torch.Tensor = (wanted.exp() * (wanted - logs)).sum(-1) * batch["attention_mask"]
    return divergence


def distilled_over_rows(teacher: Any) -> RightPart:
    """KL(teacher ‖ student): mean over the rows of each row's mean over its tokens."""

    def part(model: Any, batch: Batch, step: Step) -> torch.Tensor:
        means: torch.Tensor = _divergence(teacher, model, batch, step).sum(1) / batch["attention_mask"].sum(1)
        return means.sum() / step.num_rows

    return part


def distilled_over_tokens(teacher: Any) -> RightPart:
    """KL(teacher ‖ student): mean over the tokens of the step."""

    def part(model: Any, batch: Batch, step: Step) -> torch.Tensor:
        tokens = sum(int(each["attention_mask"].sum()) for each in step.batches)
        return _divergence(teacher, model, batch, step).sum() / tokens

    return part


def written(model: Any, batch: Any, step: Step) -> torch.Tensor:
    """Mean over rows of reward · mean nats of what the model, at the step's weights, writes on by chance."""
    prompts = without_labels(Pads(left=True)(batch))
    ids, mask = prompts["input_ids"], prompts["attention_mask"]
    for _ in range(NEW_TOKENS):
        with torch.no_grad():
            logits = step.outputs(model, {"input_ids": ids, "attention_mask": mask})["logits"][:, -1]
        logits = logits if logits.dtype == torch.float64 else logits.float()
        ids = torch.cat([ids, torch.multinomial(torch.softmax(logits, -1), 1)], 1)
        mask = torch.nn.functional.pad(mask, (0, 1), value=1)
    new = ids[:, -NEW_TOKENS:]
    rewards = new.sum(1) % KINDS_OF_REWARD - 2.0
    scored = _logits(model, {"input_ids": ids, "attention_mask": mask}, step)[:, -NEW_TOKENS - 1 : -1]
    rows = sum(len(each) for each in step.batches)
    losses: torch.Tensor = rewards * picked(scored, new).mean(1)
    return losses.sum() / rows


def padded_in_loss(model: Any, batch: Any, step: Step) -> torch.Tensor:
    """Mean over the rows of each row's own mean, of rows as they are."""
    rows: Any = step.batches
    padded = [Pads()(each) for each in rows]
    return row_mean(model, Pads()(batch), replace(step, batches=padded))
