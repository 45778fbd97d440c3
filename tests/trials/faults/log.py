"""The gradient is right, what `training_step` returns is not."""

from __future__ import annotations

from copy import copy
from typing import Any

import torch
from transformers import Trainer

from tests.trials.faults.fault import GRADIENT, OVER_K, TIMES_K, Fault, trainer_mixin

GROUP = "the log alone"


class _Returns(Trainer):  # type: ignore[misc]
    """Returns something else than the loss whose gradient it took."""

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        kept = copy(inputs)
        loss: torch.Tensor = super().training_step(model, inputs, num_items_in_batch)
        return self.returned(loss, model, kept)

    def returned(self, loss: torch.Tensor, model: Any, inputs: Any) -> torch.Tensor:
        raise NotImplementedError

    @property
    def k(self) -> int:
        k: int = self.args.gradient_accumulation_steps
        return k

    def own_mean(self, model: Any, inputs: Any) -> torch.Tensor:
        """Return the mean over the micro-batch."""
        count = inputs["labels"][:, 1:].ne(-100).sum().clamp(min=1)
        with torch.no_grad():
            loss: torch.Tensor = self.compute_loss(model, self._prepare_inputs(inputs), num_items_in_batch=count)
        return loss.detach()


class LogsTimesK(_Returns):
    def returned(self, loss: torch.Tensor, model: Any, inputs: Any) -> torch.Tensor:
        return loss * self.k


class LogsOverK(_Returns):
    def returned(self, loss: torch.Tensor, model: Any, inputs: Any) -> torch.Tensor:
        return loss / self.k


class LogsMeanOfMeans(_Returns):
    def returned(self, loss: torch.Tensor, model: Any, inputs: Any) -> torch.Tensor:
        return self.own_mean(model, inputs) / self.k


class LogsTheLast(_Returns):
    """Reports the last micro-batch's mean as that of the step."""

    def returned(self, loss: torch.Tensor, model: Any, inputs: Any) -> torch.Tensor:
        return self.own_mean(model, inputs) if self.accelerator.sync_gradients else torch.zeros_like(loss)


class LogsTheOneBefore(_Returns):
    """Reports with each micro-batch the loss of the one before."""

    before: Any = None

    def returned(self, loss: torch.Tensor, model: Any, inputs: Any) -> torch.Tensor:
        given, self.before = self.before, loss
        return torch.zeros_like(loss) if given is None else given


class LogsARunningMean(_Returns):
    """Smooths what it reports."""

    mean: Any = None

    def returned(self, loss: torch.Tensor, model: Any, inputs: Any) -> torch.Tensor:
        self.mean = loss if self.mean is None else 0.9 * self.mean + 0.1 * loss
        return torch.as_tensor(self.mean)


class LogsPerplexity(_Returns):
    def returned(self, loss: torch.Tensor, model: Any, inputs: Any) -> torch.Tensor:
        return (loss * self.k).exp() / self.k


class LogsBits(_Returns):
    """Reports bits for nats."""

    def returned(self, loss: torch.Tensor, model: Any, inputs: Any) -> torch.Tensor:
        return loss / 0.6931471805599453


class LogsALittleMore(_Returns):
    """Reports two per cent too much."""

    def returned(self, loss: torch.Tensor, model: Any, inputs: Any) -> torch.Tensor:
        return loss * 1.02


class LogsZero(_Returns):
    """Reports nothing but the first micro-batch."""

    seen_at = -1

    def returned(self, loss: torch.Tensor, model: Any, inputs: Any) -> torch.Tensor:
        is_first, self.seen_at = self.seen_at != self.state.global_step, self.state.global_step
        return loss if is_first else torch.zeros_like(loss)


def _log(name: str, mixin: type, codes: frozenset[str] = GRADIENT, **more: Any) -> Fault:
    return Fault(name, GROUP, codes, "log", trainer_mixin(mixin), **more)


MEANS = ("cross-entropy, flag on",)

FAULTS: tuple[Fault, ...] = (
    _log("log × k", LogsTimesK, GRADIENT | TIMES_K),
    _log("log ÷ k", LogsOverK, GRADIENT | OVER_K),
    _log("log of the mean of means", LogsMeanOfMeans, GRADIENT | {"MEAN_OF_MEANS"}, needs=MEANS),
    _log("log of the last micro-batch", LogsTheLast, needs=MEANS),
    _log("log of the micro-batch before", LogsTheOneBefore),
    _log("log of a running mean", LogsARunningMean),
    _log("log of the perplexity", LogsPerplexity, needs=("token mean",)),
    _log("log in bits", LogsBits),
    _log("log two per cent too large", LogsALittleMore, subtle=True),
    _log("log of the first micro-batch alone", LogsZero),
)
