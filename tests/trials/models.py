"""Tiny right models: classes of transformers, and classes of one's own."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import cross_entropy
from transformers import LlamaForCausalLM
from transformers.modeling_outputs import CausalLMOutput, MoeCausalLMOutputWithPast

# As strong as that the penalty is seen in half precision.
PENALTY = 0.05
EXPERTS = 4
BALANCE = 0.5
WARM_UP_CALLS = 20
IMAGE_POSITIONS = 3


def summed_nats(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Sum the cross-entropy over the targets of a micro-batch, shifted."""
    scored = logits[:, :-1].float() if logits.dtype != torch.float64 else logits[:, :-1]
    return cross_entropy(scored.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100, reduction="sum")


def num_targets(labels: torch.Tensor) -> torch.Tensor:
    """Count what `summed_nats` sums."""
    return labels[:, 1:].ne(-100).sum()


class TakesNoCount(torch.nn.Module):
    """A model that says that it takes no count."""

    accepts_loss_kwargs = False


class OwnForCausalLM(LlamaForCausalLM):  # type: ignore[misc]
    """A class of one's own that takes its own loss."""

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        """Return logits, and with labels the loss."""
        logits = self.logits_of(input_ids=input_ids, attention_mask=attention_mask, position_ids=position_ids)
        if labels is None:
            return CausalLMOutput(logits=logits)
        scored = logits[:, -labels.shape[1] :]
        return CausalLMOutput(loss=self.loss_of(scored, labels, kwargs.get("num_items_in_batch")), logits=logits)

    def logits_of(self, **inputs: Any) -> torch.Tensor:
        """Read the tokens."""
        logits: torch.Tensor = super().forward(**inputs).logits
        return logits

    def loss_of(self, logits: torch.Tensor, labels: torch.Tensor, count: Any) -> torch.Tensor:
        """Divide by the step's count, or by the micro-batch's own."""
        return self.summed(logits, labels) / (num_targets(labels) if count is None else count)

    def summed(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Sum over the targets."""
        return summed_nats(logits, labels)


class TupleForCausalLM(OwnForCausalLM):
    """Returns a tuple."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return the loss, if there are labels, and logits."""
        named = super().forward(*args, **kwargs)
        return (named.logits,) if named.loss is None else (named.loss, named.logits)


class FusedForCausalLM(OwnForCausalLM):
    """Returns no logits where it returns a loss, as a fused cross-entropy does."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return the loss, or logits."""
        named = super().forward(*args, **kwargs)
        return named if named.loss is None else CausalLMOutput(loss=named.loss)


class NextTokenModel(LlamaForCausalLM):  # type: ignore[misc]
    """Takes labels that stand where they are predicted; its name says nothing of a shift."""

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        """Return logits, and with labels the loss."""
        logits = super().forward(input_ids=input_ids, attention_mask=attention_mask).logits
        if labels is None:
            return CausalLMOutput(logits=logits)
        scored = logits if logits.dtype == torch.float64 else logits.float()
        count = kwargs.get("num_items_in_batch")
        nats = cross_entropy(scored.flatten(0, 1), labels.flatten(), ignore_index=-100, reduction="sum")
        return CausalLMOutput(loss=nats / (labels.ne(-100).sum() if count is None else count), logits=logits)


class SeesForCausalLM(OwnForCausalLM):
    """Puts an image before the tokens, and cuts its logits off before it shifts, as GIT does."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.image = torch.nn.Parameter(torch.randn(IMAGE_POSITIONS, config.hidden_size))

    def logits_of(self, **inputs: Any) -> torch.Tensor:
        """Read the image, then the tokens."""
        tokens = self.get_input_embeddings()(inputs["input_ids"])
        image = self.image.to(tokens.dtype).expand(len(tokens), -1, -1)
        mask = inputs["attention_mask"]
        if mask is not None:
            mask = torch.cat([mask.new_ones(image.shape[:2]), mask], 1)
        return super().logits_of(inputs_embeds=torch.cat([image, tokens], 1), attention_mask=mask)


class WarmsUpForCausalLM(OwnForCausalLM):
    """Counts its training forwards, and with them raises the weight of a penalty."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.start_counting()

    def start_counting(self) -> None:
        """Count in a plain attribute."""
        self.calls = 0

    def summed(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        weight = min(1.0, float(self.calls) / WARM_UP_CALLS)
        if self.training:
            self.calls += 1
        scored = logits[:, :-1].float() if logits.dtype != torch.float64 else logits[:, :-1]
        penalty = scored.logsumexp(-1).square() * labels[:, 1:].ne(-100)
        return super().summed(logits, labels) + weight * PENALTY * penalty.sum()


class WarmsUpInABufferForCausalLM(WarmsUpForCausalLM):
    """The same."""

    def start_counting(self) -> None:
        """Count in a buffer."""
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))


class PenalisesForCausalLM(OwnForCausalLM):
    """Adds a penalty to every target."""

    def summed(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        scored = logits[:, :-1].float() if logits.dtype != torch.float64 else logits[:, :-1]
        penalty = scored.logsumexp(-1).square() * labels[:, 1:].ne(-100)
        return super().summed(logits, labels) + PENALTY * penalty.sum()


class RoutesForCausalLM(OwnForCausalLM):
    """Has a gate, and says how unevenly it sends tokens; its own loss is cross-entropy alone."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.gate = torch.nn.Linear(config.vocab_size, EXPERTS, bias=False)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return logits, the auxiliary loss, and with labels the loss."""
        plain = super().forward(*args, **kwargs)
        shares = self.gate(plain.logits).float().softmax(-1).flatten(0, 1).mean(0)
        balance = EXPERTS * shares.square().sum()
        return MoeCausalLMOutputWithPast(loss=plain.loss, aux_loss=balance, logits=plain.logits)


class Recurrent(torch.nn.Module):
    """No class of transformers at all: a recurrent network that returns a dict."""

    loss_type = "ForCausalLM"

    def __init__(self, vocabulary: int, width: int) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(vocabulary, width)
        self.cell = torch.nn.GRU(width, width, batch_first=True)
        self.head = torch.nn.Linear(width, vocabulary)

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        num_items_in_batch: Any = None,
        **kwargs: Any,
    ) -> dict[str, torch.Tensor]:
        """Return logits, and with labels the loss."""
        logits = self.head(self.cell(self.embedding(input_ids))[0])
        if labels is None:
            return {"logits": logits}
        count = num_targets(labels) if num_items_in_batch is None else num_items_in_batch
        return {"loss": summed_nats(logits, labels) / count, "logits": logits}


@torch.no_grad()
def learn_by_heart(model: Any, certainty: float) -> None:
    """Let a Llama as wide as its vocabulary know that every token is followed by the next higher one.

    Its embedding is near the identity, which RMSNorm stretches to √width, and its head maps each token to the next.
    """
    vocabulary = model.config.vocab_size
    embedding, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    embedding.add_(torch.eye(vocabulary, dtype=embedding.dtype))
    head.add_(torch.eye(vocabulary, dtype=head.dtype).roll(1, 0) * certainty / vocabulary**0.5)
