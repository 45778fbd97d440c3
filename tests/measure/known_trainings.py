"""Trainers and a model of one's own with a known truth, for `--trainer-class` and `--model-class`."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import cross_entropy
from transformers import LlamaForCausalLM, Trainer
from transformers.modeling_outputs import CausalLMOutput


def _nats(outputs: Any, labels: torch.Tensor) -> torch.Tensor:
    logits = outputs.logits[:, :-1].float()
    return cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100, reduction="none")


class _Right(Trainer):  # type: ignore[misc]
    """Divides by the step's own count of targets, whatever the release counts."""

    count: Any = None

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
        samples, _ = super().get_batch_samples(*args, **kwargs)
        self.count = sum(batch["labels"][:, 1:].ne(-100).sum() for batch in samples)
        return samples, self.count

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        model.train()
        inputs = self._prepare_inputs(inputs)
        loss = self.compute_loss(model, inputs, num_items_in_batch=self.count)
        torch.autograd.backward(self.for_backward(loss, inputs))
        if self.accelerator.sync_gradients:
            self.change_gradients()
        return loss.detach()

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        outputs = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"])
        nats = self.per_token(_nats(outputs, inputs["labels"]))
        count = inputs["labels"][:, 1:].ne(-100).sum() if num_items_in_batch is None else num_items_in_batch
        loss = nats.sum() / count
        return (loss, outputs) if return_outputs else loss

    def per_token(self, nats: torch.Tensor) -> torch.Tensor:
        return nats

    def for_backward(self, loss: torch.Tensor, inputs: Any) -> torch.Tensor:
        return loss

    def change_gradients(self) -> None:
        """Leave them as they are."""


class Plain(_Right):
    """Right."""


class Focal(_Right):
    """Right: the focal loss, summed over the count, for which there is no default."""

    def compute_loss(  # type: ignore[override]
        self, model: Any, inputs: Any, return_outputs: bool = False, *, num_items_in_batch: Any
    ) -> Any:
        return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)

    def per_token(self, nats: torch.Tensor) -> torch.Tensor:
        return (1 - torch.exp(-nats)) ** 2 * nats


class _Scales(_Right):
    factor = 1.0

    def change_gradients(self) -> None:
        for parameter in self.model.parameters():
            if parameter.grad is not None:
                parameter.grad.mul_(self.factor)


class DoublesTheGradient(_Scales):
    """Wrong in the gradient alone."""

    factor = 2.0


class TurnsTheGradient(_Scales):
    """Wrong in the gradient alone: it climbs."""

    factor = -1.0


class FavoursTheHead(_Right):
    """Wrong in one parameter's gradient alone."""

    def change_gradients(self) -> None:
        self.model.lm_head.weight.grad.mul_(4)


class ForgetsTheGradient(_Right):
    """Wrong: zeroes the gradients before every micro-batch."""

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        model.zero_grad()
        return super().training_step(model, inputs)


class HalfTheGradient(_Right):
    """Wrong: takes the gradient of every other target."""

    def for_backward(self, loss: torch.Tensor, inputs: Any) -> torch.Tensor:
        outputs = self.model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"])
        return _nats(outputs, inputs["labels"])[::2].sum() / self.count


class ByHeartForCausalLM(LlamaForCausalLM):  # type: ignore[misc]
    """Right, and nearly knows its rows by heart: the loss is far below 0.01."""

    certainty = 11.0

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        num_items_in_batch: Any = None,
        **kwargs: Any,
    ) -> Any:
        assert input_ids is not None
        logits = super().forward(input_ids=input_ids, attention_mask=attention_mask).logits
        known = torch.zeros_like(logits).scatter_(2, input_ids.roll(-1, 1)[..., None], self.certainty)
        outputs = CausalLMOutput(logits=logits + known)
        if labels is not None:
            targets = labels[:, 1:].ne(-100).sum()
            outputs.loss = _nats(outputs, labels).sum() / (
                targets if num_items_in_batch is None else num_items_in_batch
            )
        return outputs


class KnowsByHeartForCausalLM(ByHeartForCausalLM):
    """The same, more so."""

    certainty = 14.0
