"""Losses without labels, over what the Trainer's own `get_batch_samples` counts: right, and over another count."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import Trainer

import gacheck
from tests.known import bodies
from tests.known.training import Training

pytestmark = pytest.mark.usefixtures("no_traces")


class OverTokens(Trainer):  # type: ignore[misc]
    """Its loss is a mean over the tokens of the step, which it counts itself."""

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
        samples, _ = super().get_batch_samples(*args, **kwargs)
        return samples, self.counted([batch["attention_mask"].sum() for batch in samples]) if samples else None

    def counted(self, counts: list[torch.Tensor]) -> torch.Tensor:
        return torch.stack(counts).sum()

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        logits = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).logits
        losses = (logits.logsumexp(-1) - 3.0).square() * inputs["attention_mask"]
        count = inputs["attention_mask"].sum() if num_items_in_batch is None else num_items_in_batch
        loss: torch.Tensor = losses.sum() / count
        return loss


class Running(OverTokens):
    """Its count is never set back."""

    so_far: Any = 0

    def counted(self, counts: list[torch.Tensor]) -> torch.Tensor:
        self.so_far = self.so_far + super().counted(counts)
        return torch.as_tensor(self.so_far)


class Strange(OverTokens):
    """Weighs its micro-batches one, two, three, which is no rule at all."""

    calls = 0

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        self.calls += 1
        loss: torch.Tensor = super().training_step(*args, **kwargs)
        for parameter in self.model.parameters():
            if parameter.grad is not None:
                parameter.grad.mul_(self.calls)
        return loss * self.calls


def unlabelled(rows: Any) -> dict[str, torch.Tensor]:
    longest = max(len(row["input_ids"]) for row in rows)
    padded = [row["input_ids"] + [0] * (longest - len(row["input_ids"])) for row in rows]
    lengths = torch.tensor([[len(row["input_ids"])] for row in rows])
    return {"input_ids": torch.tensor(padded), "attention_mask": (torch.arange(longest) < lengths).long()}


@pytest.mark.parametrize(
    ("trainer", "code"),
    [(OverTokens, "OTHER_OBJECTIVE"), (Running, "MISALIGNED_COUNT"), (Strange, "UNEXPLAINED")],
)
def test_the_count_is_held_against_what_its_own_code_counts(trainer: type[Trainer], code: str) -> None:
    verdict = gacheck.check(Training(trainer=trainer, model=bodies.llama, collator=unlabelled).make()).verdict

    assert verdict.code == code, verdict.words
    assert code != "MISALIGNED_COUNT" or "get_batch_samples" in verdict.words.cause
