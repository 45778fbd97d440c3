"""Right Trainers whose inputs have no labels, of any structure, and what makes such inputs of rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import cross_entropy, kl_div, log_softmax, logsigmoid, softplus
from transformers import Trainer

from tests.trials.batches import Pads, Row
from tests.trials.trainers import FORWARD_INPUTS, RowMeanTrainer

Collator = Callable[[Sequence[Row]], dict[str, torch.Tensor]]
NEW_TOKENS = 3
KINDS_OF_REWARD = 7


def without_labels(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Leave the labels out."""
    return {name: tensor for name, tensor in batch.items() if name in FORWARD_INPUTS}


@dataclass(frozen=True)
class Unlabelled:
    """Flat inputs."""

    pads: Collator

    def __call__(self, rows: Sequence[Row]) -> dict[str, torch.Tensor]:
        """Return a micro-batch."""
        return without_labels(self.pads(rows))


@dataclass(frozen=True)
class Scored:
    """Flat inputs of two sides, the side in their names."""

    pads: Collator

    def __call__(self, rows: Sequence[Row]) -> dict[str, torch.Tensor]:
        """Return a micro-batch."""
        sides = ("chosen", "rejected")
        batches = {side: without_labels(self.pads([_plain(row[side]) for row in rows])) for side in sides}
        return {f"{name}_{side}": tensor for side, batch in batches.items() for name, tensor in batch.items()}


@dataclass(frozen=True)
class Nested:
    """Mappings within a mapping."""

    pads: Collator

    def __call__(self, rows: Sequence[Row]) -> dict[str, dict[str, torch.Tensor]]:
        """Return a micro-batch."""
        sides = {"anchor": "chosen", "positive": "rejected"}
        return {name: without_labels(self.pads([row[side] for row in rows])) for name, side in sides.items()}


@dataclass(frozen=True)
class Listed:
    """A list of mappings within a mapping: a question, and the right and the wrong answer."""

    pads: Collator

    def __call__(self, rows: Sequence[Row]) -> dict[str, Any]:
        """Return a micro-batch; the answer to the next question is wrong."""
        answers = [row["rejected"] for row in rows]
        sides = (answers, [{**each, "input_ids": each["input_ids"][::-1]} for each in answers])
        documents = [without_labels(self.pads(side)) for side in sides]
        return {"query": without_labels(self.pads([row["chosen"] for row in rows])), "documents": documents}


@dataclass(frozen=True)
class AsTheyAre:
    """The rows themselves: a list of mappings."""

    pads: Collator

    def __call__(self, rows: Sequence[Row]) -> list[Row]:
        """Return a micro-batch."""
        return list(rows)


def _plain(side: Row) -> Row:
    return {name: value for name, value in side.items() if name != "reference_logp"}


class _Unlabelled(Trainer):  # type: ignore[misc]
    """Returns what `loss_of` makes of its inputs."""

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return the mean over the micro-batch."""
        loss = self.loss_of(model, inputs, num_items_in_batch)
        return (loss, {}) if return_outputs else loss

    def loss_of(self, model: Any, inputs: Any, count: Any) -> torch.Tensor:
        """Reduce the losses of a micro-batch."""
        raise NotImplementedError

    def logits(self, model: Any, inputs: Any) -> torch.Tensor:
        """Return logits, in no half precision."""
        logits: torch.Tensor = model(**inputs)["logits"]
        return logits if logits.dtype == torch.float64 else logits.float()

    def embedded(self, model: Any, inputs: Any) -> torch.Tensor:
        """Return the mean of a row's logits."""
        seen = inputs["attention_mask"][..., None]
        mean: torch.Tensor = (self.logits(model, inputs) * seen).sum(1) / seen.sum(1)
        return mean


class RewardTrainer(_Unlabelled):
    """The chosen row is to get the higher score, as a reward model learns it."""

    def loss_of(self, model: Any, inputs: Any, count: Any) -> torch.Tensor:
        names = ("input_ids", "attention_mask")
        chosen, rejected = (
            self.logits(model, {name: inputs[f"{name}_{side}"] for name in names})[:, 0]
            for side in ("chosen", "rejected")
        )
        return -logsigmoid(chosen - rejected).mean()


class NegativesTrainer(_Unlabelled):
    """Which positive belongs to which anchor: all others of the micro-batch are negatives."""

    def loss_of(self, model: Any, inputs: Any, count: Any) -> torch.Tensor:
        anchors, positives = self.embedded(model, inputs["anchor"]), self.embedded(model, inputs["positive"])
        return cross_entropy(anchors @ positives.T, torch.arange(len(anchors)))


class TripletTrainer(_Unlabelled):
    """A question is to be nearer to the right answer than to the wrong one."""

    margin = 1.0

    def loss_of(self, model: Any, inputs: Any, count: Any) -> torch.Tensor:
        query = self.embedded(model, inputs["query"])
        near, far = (((self.embedded(model, each) - query) ** 2).sum(1) for each in inputs["documents"])
        return softplus(self.margin + near - far).mean()


class DistilsRowsTrainer(_Unlabelled):
    """Divergence from a teacher, of every token: the mean over rows of each row's mean."""

    teacher: Any = None

    def loss_of(self, model: Any, inputs: Any, count: Any) -> torch.Tensor:
        seen = inputs["attention_mask"]
        divergence = self.divergence(model, inputs) * seen
        return self.over_rows(divergence.sum(1) / seen.sum(1), divergence, count)

    def over_rows(self, means: torch.Tensor, divergence: torch.Tensor, count: Any) -> torch.Tensor:
        """Reduce."""
        return means.mean()

    def divergence(self, model: Any, inputs: Any) -> torch.Tensor:
        """Return KL(teacher ‖ student) at every position."""
        logits = self.logits(model, inputs)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=self.args.bf16):
            wanted = self.teacher(**inputs)["logits"]
        wanted = log_softmax(wanted.to(logits.dtype), -1)
        return kl_div(log_softmax(logits, -1), wanted, reduction="none", log_target=True).sum(-1)


class DistilsTokensTrainer(DistilsRowsTrainer):
    """The same, over all tokens of the step, which it counts itself."""

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
        """Count tokens: there are no labels."""
        samples, _ = super().get_batch_samples(*args, **kwargs)
        return samples, sum(batch["attention_mask"].sum() for batch in samples) if samples else None

    def loss_of(self, model: Any, inputs: Any, count: Any) -> torch.Tensor:
        seen = inputs["attention_mask"]
        loss: torch.Tensor = (self.divergence(model, inputs) * seen).sum() / (seen.sum() if count is None else count)
        return loss


class PolicyTrainer(_Unlabelled):
    """Writes on from prompts, and is rewarded: the inputs are made of a list of prompts, by chance."""

    def _prepare_inputs(self, inputs: Any) -> Any:
        prompts = super()._prepare_inputs(without_labels(Pads(left=True)(inputs)))
        ids, mask = prompts["input_ids"], prompts["attention_mask"]
        with torch.no_grad():
            for _ in range(NEW_TOKENS):
                chances = self.logits(self.model, {"input_ids": ids, "attention_mask": mask})[:, -1].softmax(-1)
                ids = torch.cat([ids, torch.multinomial(chances, 1)], 1)
                mask = torch.cat([mask, torch.ones_like(mask[:, :1])], 1)
        rewards = ids[:, -NEW_TOKENS:].sum(1) % KINDS_OF_REWARD - 2.0
        return {"input_ids": ids, "attention_mask": mask, "rewards": rewards}

    def loss_of(self, model: Any, inputs: Any, count: Any) -> torch.Tensor:
        logits = self.logits(model, {name: inputs[name] for name in ("input_ids", "attention_mask")})
        written = inputs["input_ids"][:, -NEW_TOKENS:]
        nats = cross_entropy(logits[:, -NEW_TOKENS - 1 : -1].transpose(1, 2), written, reduction="none")
        losses: torch.Tensor = nats.mean(1) * inputs["rewards"]
        return losses.mean()


class PadsInLossTrainer(RowMeanTrainer):
    """Is given rows as they are, and pads them itself, when it is asked for the loss."""

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return the mean over rows of each row's mean."""
        return super().compute_loss(model, Pads()(inputs), return_outputs, num_items_in_batch)
