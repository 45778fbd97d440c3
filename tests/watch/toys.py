"""A model and a Trainer of a few lines, for what needs no real one; they need torch alone, as the watch does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from types import SimpleNamespace
from typing import Any

import torch
from torch.nn import functional

VOCABULARY = 5
IGNORED = -100

Inputs = dict[str, torch.Tensor]

# Shifted, the first scores 3 labels and the second 1; unshifted 4 and 2.
BATCHES: tuple[Inputs, ...] = tuple(
    {"input_ids": torch.tensor([ids]), "labels": torch.tensor([labels])}
    for ids, labels in (([1, 2, 3, 4], [1, 2, 3, 4]), ([4, 3, 1, 1], [4, 3, IGNORED, IGNORED]))
)


_SPIED: list[list[Any]] = []


class Spied:
    """What was seen within a model or a Trainer: a list that is not put back with the rest, as it lies elsewhere."""

    def __init__(self) -> None:
        self._number = len(_SPIED)
        _SPIED.append([])

    def append(self, item: Any) -> None:
        _SPIED[self._number].append(item)

    def __getitem__(self, place: Any) -> Any:
        return _SPIED[self._number][place]

    def __len__(self) -> int:
        return len(_SPIED[self._number])


class ToyModel(torch.nn.Module):
    """Embedding and head; its loss is the mean, or the sum over `num_items_in_batch`."""

    def __init__(self, *, shifts: bool = True, dropout: float = 0.0, smoothing: float = 0.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.shifts = shifts
        self.smoothing = smoothing
        self.embedding = torch.nn.Embedding(VOCABULARY, 8)
        self.dropout = torch.nn.Dropout(dropout)
        self.norm = torch.nn.BatchNorm1d(8)
        self.head = torch.nn.Linear(8, VOCABULARY)

    def forward(
        self, input_ids: torch.Tensor, labels: torch.Tensor | None = None, num_items_in_batch: Any = None
    ) -> SimpleNamespace:
        hidden = self.dropout(self.embedding(input_ids))
        logits = self.head(self.norm(hidden.transpose(1, 2)).transpose(1, 2))
        loss = None if labels is None else self.loss_of(logits, labels, num_items_in_batch)
        return SimpleNamespace(loss=loss, logits=logits)

    def loss_of(self, logits: torch.Tensor, labels: torch.Tensor, num_items_in_batch: Any) -> torch.Tensor:
        scored, wanted = (logits[:, :-1], labels[:, 1:]) if self.shifts else (logits, labels)
        total = functional.cross_entropy(
            scored.reshape(-1, VOCABULARY),
            wanted.reshape(-1),
            ignore_index=IGNORED,
            reduction="sum",
            label_smoothing=self.smoothing,
        )
        count = wanted.ne(IGNORED).sum() if num_items_in_batch is None else num_items_in_batch
        return total / count


class ToyTrainer:
    """Accumulates, updates, logs.

    Args:
        counted: Whether the model is handed the step's count of targets, so that the loss is the right one.
        scale: What the loss is multiplied by, on its way to backward and into the log.
    """

    def __init__(self, model: ToyModel | None = None, *, k: int = 2, counted: bool = False, scale: float = 1.0) -> None:
        self.model = model or ToyModel()
        self.args = SimpleNamespace(gradient_accumulation_steps=k, process_index=0, learning_rate=1e-2, device="cpu")
        self.accelerator = SimpleNamespace(sync_gradients=False, mixed_precision="no")
        self.model_accepts_loss_kwargs = counted
        self.compute_loss_func: Callable[..., torch.Tensor] | None = None
        self.scale = scale
        self.books: dict[str, list[float]] = {"losses": []}
        self.log: list[float] = []
        self.counts: list[Any] = []

    def compute_loss(self, model: Any, inputs: Inputs, return_outputs: bool = False, **kwargs: Any) -> Any:
        if self.compute_loss_func is not None:
            labels = inputs.pop("labels")
            outputs = model(**inputs)
            loss = self.compute_loss_func(outputs, labels, **kwargs)
        else:
            outputs = model(**inputs, **kwargs)
            loss = outputs.loss
        self.books["losses"].append(float(loss.detach()))
        return (loss, outputs) if return_outputs else loss

    def compute_loss_context_manager(self) -> AbstractContextManager[None]:
        return nullcontext()

    def _prepare_inputs(self, inputs: Inputs) -> Inputs:
        return inputs

    def get_batch_samples(
        self, epoch_iterator: Iterator[Inputs], num_batches: int, device: Any = None
    ) -> tuple[list[Inputs], int | None]:
        batches = [next(epoch_iterator) for _ in range(num_batches)]
        return batches, self.count_of(batches) if self.model_accepts_loss_kwargs else None

    def count_of(self, batches: Iterable[Inputs]) -> int:
        return sum(int(b["labels"][:, 1:].ne(IGNORED).sum()) for b in batches)

    def training_step(self, model: Any, inputs: Inputs, num_items_in_batch: Any = None) -> torch.Tensor:
        self.counts.append(num_items_in_batch)
        if num_items_in_batch is None:
            loss = self.compute_loss(model, dict(inputs)) / self.args.gradient_accumulation_steps
        else:
            loss = self.compute_loss(model, dict(inputs), num_items_in_batch=num_items_in_batch)
        loss = loss * self.scale
        loss.backward()
        return loss.detach()

    def train(self, num_steps: int = 3, batches: tuple[Inputs, ...] = BATCHES) -> None:
        """Make steps of k micro-batches, over and over the same."""
        optimizer = torch.optim.SGD(self.model.parameters(), lr=1e-2)
        k = self.args.gradient_accumulation_steps
        chosen = (batches * k)[:k]
        count = self.count_of(chosen) if self.model_accepts_loss_kwargs else None
        for _ in range(num_steps):
            losses = []
            for number, inputs in enumerate(chosen):
                self.accelerator.sync_gradients = number == k - 1
                losses.append(float(self.training_step(self.model, inputs, count)))
            self.log.append(sum(losses))
            optimizer.step()
            optimizer.zero_grad()


def state_of(trainer: ToyTrainer) -> list[torch.Tensor]:
    """Return all that a question could disturb: weights, buffers, gradients, random state."""
    gradients = [p.grad for p in trainer.model.parameters() if p.grad is not None]
    tensors = [*trainer.model.state_dict().values(), *gradients, torch.get_rng_state()]
    return [tensor.detach().clone() for tensor in tensors]


def same_state(first: list[torch.Tensor], second: list[torch.Tensor]) -> bool:
    """Whether two states are equal bit for bit."""
    return len(first) == len(second) and all(map(torch.equal, first, second))
