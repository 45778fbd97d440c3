"""Loss and gradient are divided by a count of something else."""

from __future__ import annotations

from typing import Any

import torch
from transformers import Trainer

from tests.trials.building import Build
from tests.trials.faults.fault import MISCOUNTED, Fault, trainer_mixin
from tests.trials.heads import HEADS

GROUP = "another count"
COUNTED = ("cross-entropy, flag on",)
COUNTS = (*COUNTED, "head, counted", "own count")
LABELLED = (*COUNTED, "head, counted")
OF_HEADS = tuple(head.model_class for head in HEADS.values())


class _Counts(Trainer):  # type: ignore[misc]
    """Counts something else than the targets of the step."""

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
        samples, count = super().get_batch_samples(*args, **kwargs)
        return samples, self.counted(samples, count) if samples else count

    def counted(self, samples: list[Any], count: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError

    def targets(self, batch: Any) -> torch.Tensor:
        labels = batch["labels"] if isinstance(self.model, OF_HEADS) else batch["labels"][:, 1:]
        found: torch.Tensor = labels.ne(-100).sum()
        return found


class CountsLabels(_Counts):
    """Counts the first label of a row, which nothing predicts."""

    def counted(self, samples: list[Any], count: torch.Tensor) -> torch.Tensor:
        return torch.stack([batch["labels"].ne(-100).sum() for batch in samples]).sum()


class CountsPositions(_Counts):
    """Counts every position, padding and prompts too."""

    def counted(self, samples: list[Any], count: torch.Tensor) -> torch.Tensor:
        return torch.tensor(sum(batch["labels"].numel() for batch in samples))


class CountsTokens(_Counts):
    """Counts every token, prompts too."""

    def counted(self, samples: list[Any], count: torch.Tensor) -> torch.Tensor:
        masks = [batch.get("attention_mask") for batch in samples]
        if masks[0] is None or masks[0].dim() > 2:
            return torch.tensor(sum(batch["labels"].numel() for batch in samples))
        return torch.stack([mask.sum() for mask in masks]).sum()


class CountsRows(_Counts):
    """Counts rows."""

    def counted(self, samples: list[Any], count: torch.Tensor) -> torch.Tensor:
        return torch.tensor(sum(len(batch["labels"]) for batch in samples))


class CountsOneMore(_Counts):
    """Counts one too many."""

    def counted(self, samples: list[Any], count: torch.Tensor) -> torch.Tensor:
        return count + 1


class CountsInHalfPrecision(_Counts):
    """Keeps the count in bfloat16, which knows no 257."""

    def counted(self, samples: list[Any], count: torch.Tensor) -> torch.Tensor:
        return count.to(torch.bfloat16)


class CountsTheFirst(_Counts):
    """Counts the first micro-batch alone."""

    def counted(self, samples: list[Any], count: torch.Tensor) -> torch.Tensor:
        return self.targets(samples[0]).clamp(min=1)


class CountsTheLast(_Counts):
    """Counts the last micro-batch alone."""

    def counted(self, samples: list[Any], count: torch.Tensor) -> torch.Tensor:
        return self.targets(samples[-1]).clamp(min=1)


class CountsBefore(_Counts):
    """Takes the count of the step before, from the second step on."""

    before: Any = None

    def counted(self, samples: list[Any], count: torch.Tensor) -> torch.Tensor:
        given, self.before = self.before, count
        return count if given is None else given


class CountsOn(_Counts):
    """Adds up the counts of all steps so far."""

    so_far: Any = 0

    def counted(self, samples: list[Any], count: torch.Tensor) -> torch.Tensor:
        self.so_far = self.so_far + count
        return torch.as_tensor(self.so_far)


class CountsAhead(_Counts):
    """Takes the count of the window that comes next."""

    waiting: Any = None

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: Any) -> Any:
        if self.waiting is None:
            self.waiting = super(_Counts, self).get_batch_samples(epoch_iterator, num_batches, device)
        samples, count = self.waiting
        self.waiting = super(_Counts, self).get_batch_samples(epoch_iterator, num_batches, device)
        return samples, self.waiting[1] if self.waiting[0] else count


class CountsTheMicroBatch(Trainer):  # type: ignore[misc]
    """Takes the count of the micro-batch times their number, as if all were alike."""

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        count = inputs["labels"][:, 1:].ne(-100).sum().clamp(min=1) * self.current_gradient_accumulation_steps
        return super().compute_loss(model, inputs, return_outputs, num_items_in_batch=count)


def forget_the_shift(build: Build) -> None:
    """Let the model not say that its loss shifts, as GPT-2's class name does not."""
    build.on_model.append(_forget_the_shift)


def _forget_the_shift(model: Any) -> None:
    getattr(model, "get_base_model", lambda: model)().loss_type = None


def _count(name: str, mixin: type, codes: frozenset[str] = MISCOUNTED, **more: Any) -> Fault:
    return Fault(name, GROUP, codes, "both", trainer_mixin(mixin), **{"needs": COUNTS, **more})


UNSHIFTED = frozenset({"UNSHIFTED_TOKEN_COUNT"})

FAULTS: tuple[Fault, ...] = (
    _count("labels counted before the shift", CountsLabels, UNSHIFTED, needs=COUNTED),
    Fault("the model does not say that it shifts", GROUP, UNSHIFTED, "both", forget_the_shift, needs=COUNTED),
    _count("positions counted, padding too", CountsPositions, MISCOUNTED | UNSHIFTED, needs=LABELLED),
    _count("tokens counted, prompts too", CountsTokens, MISCOUNTED | UNSHIFTED, needs=COUNTED),
    _count("rows counted", CountsRows, MISCOUNTED | {"NOT_NORMALISED"}, needs=LABELLED),
    _count("one too many counted", CountsOneMore, MISCOUNTED | UNSHIFTED),
    _count(
        "count in bfloat16",
        CountsInHalfPrecision,
        data=("very long and very short", "rows of unequal length", "packed", "flattened"),
        needs=COUNTED,
        subtle=True,
    ),
    _count("count of the first micro-batch", CountsTheFirst, needs=LABELLED),
    _count("count of the last micro-batch", CountsTheLast, needs=LABELLED),
    _count("count of the step before", CountsBefore, late=True),
    _count("count never set back", CountsOn, late=True),
    _count("count of the next window", CountsAhead),
    Fault(
        "count of the micro-batch × k",
        "mean of means",
        frozenset({"MEAN_OF_MEANS"}),
        "both",
        trainer_mixin(CountsTheMicroBatch),
        needs=COUNTED,
    ),
)
