"""Models that can be run: whether their loss depends on the count is the truth that the reader is held against.

A class that says `UNDECIDED` is one of which the reader is to say that it does not know.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn import CrossEntropyLoss

from .own_losses import LOSSES, losing, with_count, without


@dataclass
class Output:
    loss: Any = None
    logits: Any = None


class Base(nn.Module):
    """Four classes from eight numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8, 4)
        self.criterion = CrossEntropyLoss(ignore_index=-100)
        self.chosen = with_count

    def body(self, inputs: Any, **kwargs: Any) -> Any:
        return self.head(inputs)


class Uses(Base):
    def forward(self, inputs: Any, labels: Any = None, **kwargs: Any) -> Any:
        logits = self.body(inputs, **kwargs)
        loss = None
        if labels is not None:
            loss = with_count(logits, labels, **kwargs)
        return Output(loss=loss, logits=logits)


class Drops(Base):
    def forward(self, inputs: Any, labels: Any = None, **kwargs: Any) -> Any:
        logits = self.body(inputs, **kwargs)
        loss = None
        if labels is not None:
            loss = self.criterion(logits.view(-1, 4), labels.view(-1))
        return Output(loss=loss, logits=logits)


class HandsOnToNobody(Base):
    def forward(self, inputs: Any, labels: Any = None, **kwargs: Any) -> Any:
        return Output(without(self.body(inputs), labels, **kwargs))


class ReturnsTuple(Base):
    def forward(self, inputs: Any, labels: Any = None, return_dict: Any = None, **kwargs: Any) -> Any:
        logits = self.body(inputs)
        loss = with_count(logits, labels, **kwargs) if labels is not None else None
        if not return_dict:
            output = (logits,)
            return ((loss, *output)) if loss is not None else output
        return Output(loss=loss, logits=logits)


class ReturnsMapping(Base):
    def forward(self, inputs: Any, labels: Any = None, num_items_in_batch: Any = None) -> Any:
        return {"logits": inputs, "loss": with_count(self.head(inputs), labels, num_items_in_batch)}


class Inherits(Uses):
    pass


class HandsOn(Uses):
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return super().forward(*args, **kwargs)


class HandsOnNothing(Uses):
    def forward(self, inputs: Any, labels: Any = None, **kwargs: Any) -> Any:
        return super().forward(inputs, labels=labels)


class Pops(Uses):
    def forward(self, inputs: Any, labels: Any = None, **kwargs: Any) -> Any:
        kwargs.pop("num_items_in_batch", None)
        return super().forward(inputs, labels=labels, **kwargs)


class Overwrites(Uses):
    def forward(self, inputs: Any, labels: Any = None, **kwargs: Any) -> Any:
        kwargs["num_items_in_batch"] = None
        return super().forward(inputs, labels=labels, **kwargs)


class Deletes(Uses):
    def forward(self, inputs: Any, labels: Any = None, **kwargs: Any) -> Any:
        kwargs.pop("num_items_in_batch", None)
        return super().forward(inputs, labels=labels, **kwargs)


class Filters(Uses):
    def forward(self, inputs: Any, labels: Any = None, **kwargs: Any) -> Any:
        kwargs = {name: value for name, value in kwargs.items() if name in ("use_cache",)}
        return super().forward(inputs, labels=labels, **kwargs)


class SortsByPrefix(Uses):
    def forward(self, inputs: Any, labels: Any = None, **kwargs: Any) -> Any:
        shared = {name: kwargs[name] for name in ["output_attentions"] if name in kwargs}
        encoder = {name: value for name, value in kwargs.items() if not name.startswith("decoder_")} | shared
        decoder = {name[len("decoder_") :]: value for name, value in kwargs.items() if name.startswith("decoder_")}
        if "num_items_in_batch" in encoder:
            decoder["num_items_in_batch"] = encoder.pop("num_items_in_batch", None)
        return super().forward(inputs, labels=labels, **decoder)


class SortsInLoop(Uses):
    def forward(self, inputs: Any, labels: Any = None, **kwargs: Any) -> Any:
        mine: dict[str, Any] = {}
        for name, value in kwargs.items():
            if name.startswith("num_"):
                mine[name] = value
        return super().forward(inputs, labels=labels, **mine)


class Collects(Uses):
    def forward(self, inputs: Any, labels: Any = None, num_items_in_batch: Any = None, **kwargs: Any) -> Any:
        options = dict(kwargs)
        if num_items_in_batch is not None:
            options.update(num_items_in_batch=num_items_in_batch)
        return super().forward(inputs, labels=labels, **options)


class Sums(Base):
    def forward(self, inputs: Any, labels: Any = None, **kwargs: Any) -> Any:
        count = kwargs.get("num_items_in_batch")
        losses = []
        for part, of_part in zip(inputs.split(2), labels.split(2), strict=True):
            losses.append(F.cross_entropy(self.head(part), of_part, reduction="sum"))
        total = torch.stack(losses).sum()
        total = total / count if count is not None else total / (labels != -100).sum()
        return {"loss": total}


class ByHand(Base):
    def forward(self, inputs: Any, labels: Any = None, num_items_in_batch: Any = None, **kwargs: Any) -> Any:
        picked = self.head(inputs).log_softmax(-1).gather(-1, labels.unsqueeze(-1)).squeeze(-1)
        return (-(picked.sum() / num_items_in_batch), inputs)


class ByHandDropped(Base):
    def forward(self, inputs: Any, labels: Any = None, num_items_in_batch: Any = None, **kwargs: Any) -> Any:
        picked = self.head(inputs).log_softmax(-1).gather(-1, labels.unsqueeze(-1)).squeeze(-1)
        return (-picked.mean(), inputs)


class ScalesMean(Base):
    def forward(self, inputs: Any, labels: Any = None, num_items_in_batch: Any = None, **kwargs: Any) -> Any:
        loss = F.cross_entropy(self.head(inputs), labels)
        return Output(loss * (labels != -100).sum() / num_items_in_batch)


class Method(Base):
    def forward(self, inputs: Any, labels: Any = None, **kwargs: Any) -> Any:
        return Output(self._loss(self.head(inputs), labels, **kwargs))

    def _loss(self, logits: Any, labels: Any, num_items_in_batch: Any = None, **kwargs: Any) -> Any:
        return F.cross_entropy(logits, labels, reduction="sum").div(num_items_in_batch)


class FromTable(Base):
    def forward(self, inputs: Any, labels: Any = None, **kwargs: Any) -> Any:
        return Output(LOSSES["without"](self.head(inputs), labels, **kwargs))


class SetInInit(Base):
    def forward(self, inputs: Any, labels: Any = None, **kwargs: Any) -> Any:
        return Output(self.chosen(self.head(inputs), labels, **kwargs))


class ReplacedInInit(SetInInit):
    def __init__(self) -> None:
        super().__init__()
        self.chosen = without


class Wraps(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = Uses()

    def forward(self, inputs: Any, labels: Any = None, **kwargs: Any) -> Any:
        outputs = self.inner(inputs, labels=labels, **kwargs)
        return Output(loss=outputs.loss, logits=outputs.logits)


class WrapsDropped(Wraps):
    def forward(self, inputs: Any, labels: Any = None, **kwargs: Any) -> Any:
        return self.inner(inputs, labels=labels)


class ComputesAgain(Wraps):
    def forward(self, inputs: Any, labels: Any = None, **kwargs: Any) -> Any:
        outputs = self.inner(inputs, labels=labels, **kwargs)
        outputs.loss = F.cross_entropy(outputs.logits, labels)
        return outputs


class AddsAuxiliary(Base):
    def forward(self, inputs: Any, labels: Any = None, **kwargs: Any) -> Any:
        logits = self.body(inputs)
        loss = with_count(logits, labels, **kwargs)
        if self.training:
            loss = loss + 0.01 * logits.logsumexp(-1).square().mean()
        return Output(loss)


class RemembersOnItself(Base):
    def forward(self, inputs: Any, labels: Any = None, num_items_in_batch: Any = None, **kwargs: Any) -> Any:
        self.count = num_items_in_batch
        return Output(self._loss(self.head(inputs), labels))

    def _loss(self, logits: Any, labels: Any) -> Any:
        return F.cross_entropy(logits, labels, reduction="sum") / self.count


class Nested(Base):
    def forward(self, inputs: Any, labels: Any = None, **kwargs: Any) -> Any:
        def loss_of(logits: Any) -> Any:
            return with_count(logits, labels, **kwargs)

        return Output(loss_of(self.head(inputs)))


class Late(Base):
    def forward(self, inputs: Any, labels: Any = None, **kwargs: Any) -> Any:
        from .own_losses import without as late

        return Output(late(self.head(inputs), labels, **kwargs))


class Tries(Base):
    def forward(self, inputs: Any, labels: Any = None, **kwargs: Any) -> Any:
        try:
            loss = with_count(self.head(inputs), labels, **kwargs)
        except ValueError:
            loss = None
        return Output(loss)


class TakesNone(Base):
    def forward(self, inputs: Any, labels: Any = None) -> Any:
        return Output(F.cross_entropy(self.head(inputs), labels))


class ReductionByDefault(Base):
    def forward(self, inputs: Any, labels: Any = None, reduction: str = "mean", **kwargs: Any) -> Any:
        return Output(F.cross_entropy(self.head(inputs), labels, reduction=reduction))


# What reading cannot decide.


class Decorated(Uses):
    UNDECIDED = True

    @losing
    def forward(self, inputs: Any, labels: Any = None, **kwargs: Any) -> Any:
        return super().forward(inputs, labels=labels, **kwargs)


class DependsOnConfig(Uses):
    UNDECIDED = True
    keeps = (True, False)

    def forward(self, inputs: Any, labels: Any = None, **kwargs: Any) -> Any:
        if not self.keeps[inputs.shape[0] % 2]:
            kwargs.pop("num_items_in_batch")
        return super().forward(inputs, labels=labels, **kwargs)


class GivenFromOutside(nn.Module):
    UNDECIDED = True

    def __init__(self, inner: Any = None) -> None:
        super().__init__()
        self.inner = inner or Drops()

    def forward(self, inputs: Any, labels: Any = None, **kwargs: Any) -> Any:
        return self.inner(inputs, labels=labels, **kwargs)


class DividesMean(Base):
    UNDECIDED = True

    def forward(self, inputs: Any, labels: Any = None, num_items_in_batch: Any = None, **kwargs: Any) -> Any:
        return Output(F.cross_entropy(self.head(inputs), labels) / num_items_in_batch)


class Summed(Base):
    UNDECIDED = True

    def forward(self, inputs: Any, labels: Any = None, **kwargs: Any) -> Any:
        return Output(F.cross_entropy(self.head(inputs), labels, reduction="sum"))


class ReductionOfConfig(Base):
    UNDECIDED = True
    reductions = ("mean", "sum")

    def forward(self, inputs: Any, labels: Any = None, **kwargs: Any) -> Any:
        return Output(F.cross_entropy(self.head(inputs), labels, reduction=self.reductions[inputs.shape[0] % 2]))


class HalfAndHalf(Base):
    UNDECIDED = True

    def forward(self, inputs: Any, labels: Any = None, **kwargs: Any) -> Any:
        logits = self.head(inputs)
        return Output(with_count(logits, labels, **kwargs) + without(logits, labels))
