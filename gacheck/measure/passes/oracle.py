"""The right answer, computed outside the Trainer at the initial weights, and how exact it is.

The naive way is to trust the model's own loss for one batch; but that is what is under test. So every row is
scored by itself from the logits, by our own arithmetic: a row's sum does not depend on how rows are grouped.
What correct arithmetic still varies by (grouping, repetition, the dtype) is measured here too.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from gacheck.measure.passes.summed_gradients import SummedGradients
from gacheck.measure.text.rows import Collator
from gacheck.record.parts import Noise, OracleRecord, RowLoss
from gacheck.rules.facts import CodeLocation
from gacheck.watch.batches import (
    Batch,
    batch_fingerprints,
    count_labels,
    count_targets,
    repeats,
    row_fingerprint,
)
from gacheck.watch.cross_entropy import (
    align,
    find_alignment,
    find_logits,
    measure,
    resolution,
    row_sums,
    sum_nats,
)
from gacheck.watch.description import added_up_parameters, hooked_parameters
from gacheck.watch.loss_location import ScalarTrace
from gacheck.watch.mesh import Mesh
from gacheck.watch.overrides import read_overrides
from gacheck.watch.own_loss import find_loss, own_loss, own_mean, without_accumulation
from gacheck.watch.restoring import hooks_muted

# The model's own loss is plain cross-entropy if it differs from ours by noise; another objective differs by more.
PLAIN_SLACK = 10.0


# A loss that is plain cross-entropy fits one alignment to rounding, and the other not: a hundred times better is clear.
SHIFT_IS_CLEAR = 0.01


@dataclass(frozen=True)
class Forward:
    """One forward: the logits at the tokens, and the model's own mean loss."""

    logits: torch.Tensor
    own_mean: torch.Tensor | None


@dataclass(frozen=True)
class Scored:
    """What is kept of the forward of one row: the logits of all rows may be larger than the model.

    Attributes:
        nats: Its summed cross-entropy, with the labels shifted and not.
        own_mean: The model's own mean loss.
    """

    nats: Mapping[bool, float]
    own_mean: torch.Tensor | None


class Oracle:
    """Scores rows at the model's present weights, in train mode, as the Trainer runs it.

    Args:
        model: On its device.
        collator: Pads rows to batches.
        autocast: Mixed precision of the passes, None for none.
        tell: Tells the other processes something and returns what each told; by default there are none.
    """

    def __init__(
        self,
        model: Any,
        collator: Collator,
        autocast: torch.dtype | None,
        tell: Callable[[Any], list[Any]] = lambda facts: [facts],
    ) -> None:
        self._model = model
        self._collator = collator
        self._device = next(model.parameters()).device
        self._autocast = autocast
        self._tell = tell

    def precision(self) -> AbstractContextManager[Any]:
        """Return the context under which the passes run their forwards."""
        if self._autocast is None:
            return nullcontext()
        return torch.autocast(self._device.type, dtype=self._autocast)

    def batch(self, rows: Sequence[dict[str, Any]]) -> Batch:
        """Collate rows onto the model's device."""
        return {name: tensor.to(self._device) for name, tensor in self._collator(rows).items()}

    def mean_nats(self, rows: Sequence[dict[str, Any]], *, shifts: bool) -> float:
        """Return the token-weighted mean over rows: the right answer, at the present weights."""
        batches = [self.batch([row]) for row in rows]
        total = math.fsum(row_sums(self._forward(b).logits, b["labels"], shifts=shifts)[0] for b in batches)
        return total / sum(count_targets(b["labels"], shifts=shifts) for b in batches)

    def answer(
        self, trainer: Any, rows: Any, micro_batch_sizes: Sequence[int], step_sizes: Sequence[int]
    ) -> OracleRecord:
        """Compute the right answer, and measure how exact it is.

        Args:
            trainer: Feeds the rows, and is asked for its own loss of one, to see whether that is plain cross-entropy.
            rows: That it trains on.
            micro_batch_sizes: Rows per micro-batch of the passes.
            step_sizes: Rows per first optimizer step of the passes.
        """
        first = self._first_rows(trainer, rows, max(step_sizes))
        with without_accumulation(trainer):
            return self._answer(first, micro_batch_sizes, step_sizes, trainer)

    def _first_rows(self, trainer: Any, rows: Any, num_rows: int) -> list[dict[str, Any]]:
        """Return the rows that the Trainer would feed first, at least so many, in its order: a batch a process."""
        by_fingerprint = {row_fingerprint(row["input_ids"], row["labels"]): row for row in rows}
        mesh, own = Mesh(trainer), []
        num_sets = len(mesh.of_distinct_rows(self._tell(None)))
        for batch in trainer.get_train_dataloader():
            own.append(list(batch_fingerprints(batch)))
            if sum(map(len, own)) * num_sets >= num_rows:
                break
        told = mesh.of_distinct_rows(self._tell(own))
        in_turn = itertools.chain.from_iterable(itertools.zip_longest(*told, fillvalue=[]))
        return [by_fingerprint[each] for batch in in_turn for each in batch]

    def _answer(
        self, rows: Sequence[dict[str, Any]], micro_batch_sizes: Sequence[int], step_sizes: Sequence[int], trainer: Any
    ) -> OracleRecord:
        self._model.train()
        singles = [self.batch([row]) for row in rows]
        scores = [self._scored(batch) for batch in singles]
        shift_errors = (self._fit(singles, scores, shifts=True), self._fit(singles, scores, shifts=False))
        model_shifts = self._alignment(shift_errors, singles[0], lambda batch: self._with_loss(batch))
        shifts = self._training_shifts(singles, scores, trainer, model_shifts)
        sums = [each.nats[shifts] for each in scores]
        # The Trainer's own loss may come out coarser than the model's: its label smoother does not leave bfloat16.
        dtypes = [s.own_mean.dtype for s in scores if s.own_mean is not None]
        dtype = max(
            [*dtypes, self._own_loss(singles[0], trainer, shifts=shifts).dtype], key=lambda each: torch.finfo(each).eps
        )
        group = self.batch(rows[: max(micro_batch_sizes)])
        counted, refusal = self._counted(group, shifts=shifts)
        plain = self._forward(group).own_mean
        noise = self._noise(rows, sums, micro_batch_sizes, dtype, min(shift_errors), shifts=shifts)
        norms = self._gradient_norms(singles, step_sizes, trainer, shifts=shifts)
        gradient_noise = self._gradient_noise(rows, max(micro_batch_sizes), norms, trainer, shifts=shifts)
        return OracleRecord(
            rows=tuple(
                RowLoss(
                    fingerprint=batch_fingerprints(b)[0],
                    sum_nats=s,
                    num_target_tokens=count_targets(b["labels"], shifts=shifts),
                    num_label_tokens=count_labels(b["labels"]),
                )
                for b, s in zip(singles, sums, strict=True)
            ),
            shifts=shifts,
            shift_errors=shift_errors,
            model_shifts=model_shifts,
            overrides=read_overrides(trainer),
            hooked_parameters=hooked_parameters(self._model),
            added_up_parameters=added_up_parameters(self._model),
            labels_are_inputs=repeats(group["input_ids"], group["labels"]),
            noise=noise.model_copy(
                update={
                    "gradient_norm": gradient_noise,
                    "own_loss": self._own_noise(rows, micro_batch_sizes, trainer, shifts=shifts),
                }
            ),
            gradient_norms=norms,
            plain_loss_nats=None if plain is None else float(plain),
            counted_loss_nats=counted,
            counted_loss_error=refusal,
            loss_location=self._loss_location(group, trainer, shifts=shifts),
        )

    @torch.no_grad()
    def _forward(self, batch: Batch) -> Forward:
        with self.precision():
            outputs = self._model(**batch)
            logits = find_logits(outputs)
            if logits is None:
                # A fused cross-entropy gives no logits where it is handed labels.
                logits = find_logits(self._model(**{k: v for k, v in batch.items() if k != "labels"}))
        if logits is None:
            raise ValueError(f"{type(self._model).__name__} returns no logits of shape (rows, tokens, vocabulary)")
        return Forward(_at_tokens(logits, batch["labels"]), find_loss(outputs))

    def _scored(self, row: Batch) -> Scored:
        """Score one row; its logits are let go of."""
        found = self._forward(row)
        nats = {shifts: row_sums(found.logits, row["labels"], shifts=shifts)[0] for shifts in (True, False)}
        return Scored(nats, found.own_mean)

    def _fit(self, batches: Sequence[Batch], scores: Sequence[Scored], *, shifts: bool) -> float:
        """Return the largest relative error of the model's own loss against cross-entropy, shifted or not."""
        errors = [
            relative_difference(float(s.own_mean), s.nats[shifts] / count)
            for s, b in zip(scores, batches, strict=True)
            if s.own_mean is not None and (count := count_targets(b["labels"], shifts=shifts))
        ]
        return max(errors, default=math.inf)

    def _training_shifts(
        self, batches: Sequence[Batch], scores: Sequence[Scored], trainer: Any, model_shifts: bool
    ) -> bool:
        """Whether the loss that the Trainer's own code computes shifts the labels: it need not be the model's."""
        with torch.no_grad():
            owns = [own_loss(trainer, b, shifts=model_shifts)[0] for b in batches]
        own = [Scored(s.nats, loss) for s, loss in zip(scores, owns, strict=True)]
        errors = (self._fit(batches, own, shifts=True), self._fit(batches, own, shifts=False))
        return self._alignment(errors, batches[0], lambda batch: own_loss(trainer, batch, shifts=model_shifts))

    def _with_loss(self, batch: Batch) -> tuple[torch.Tensor | None, Any]:
        outputs = self._model(**batch)
        return find_loss(outputs), outputs

    def _alignment(
        self,
        errors: tuple[float, float],
        batch: Batch,
        ask: Callable[[Batch], tuple[torch.Tensor | None, Any]],
    ) -> bool:
        """Whether a loss shifts the labels: by its value, or where that is of something else, by its gradient."""
        if min(errors) <= SHIFT_IS_CLEAR * max(errors):
            return errors[0] <= errors[1]
        with self.precision():
            loss, outputs = ask(batch)
        logits = find_logits(outputs)
        if logits is None or loss is None or not loss.requires_grad:
            return True
        return find_alignment(loss, logits, batch["labels"]).shifts

    def _noise(
        self,
        rows: Sequence[dict[str, Any]],
        sums: Sequence[float],
        micro_batch_sizes: Sequence[int],
        dtype: torch.dtype,
        own_error: float,
        *,
        shifts: bool,
    ) -> Noise:
        """Measure what correct arithmetic varies by: rows alone, and in every micro-batch as the passes group them."""
        regrouping, cross_entropy = 0.0, 0.0
        for start, size in ((at, each) for each in set(micro_batch_sizes) for at in range(0, len(rows), each)):
            batch = self.batch(rows[start : start + size])
            scored = self._forward(batch)
            found, alone = row_sums(scored.logits, batch["labels"], shifts=shifts), sums[start : start + size]
            regrouping = max(regrouping, *map(relative_difference, found, alone))
            # Rounding grows with the size of the logits and not with the loss: of rows that are nearly known by heart
            # it is a large share.
            exact, off = measure(scored.logits, align(scored.logits, batch["labels"], shifts=shifts))
            cross_entropy = max(cross_entropy, off / math.fsum(exact) if any(exact) else 0.0)
            count = count_targets(batch["labels"], shifts=shifts)
            if scored.own_mean is not None and count:
                own_error = max(own_error, relative_difference(float(scored.own_mean), math.fsum(alone) / count))
        rounding, repeat = resolution(dtype), self._repeat_noise(rows[: max(micro_batch_sizes)], shifts=shifts)
        plain = own_error <= PLAIN_SLACK * max(rounding, regrouping, repeat, cross_entropy)
        return Noise(
            resolution=rounding,
            regrouping=regrouping,
            repeat=repeat,
            plain_loss=own_error if plain else None,
            cross_entropy=cross_entropy,
        )

    def _repeat_noise(self, rows: Sequence[dict[str, Any]], *, shifts: bool) -> float:
        """Measure what the same forward twice differs by."""
        batch = self.batch(rows)
        first, second = (row_sums(self._forward(batch).logits, batch["labels"], shifts=shifts) for _ in range(2))
        return max(map(relative_difference, first, second))

    @torch.no_grad()
    def _own_loss(self, batch: Batch, trainer: Any, *, shifts: bool) -> torch.Tensor:
        with self.precision():
            return own_loss(trainer, batch, shifts=shifts)[0]

    def _own_noise(
        self, rows: Sequence[dict[str, Any]], sizes: Sequence[int], trainer: Any, *, shifts: bool
    ) -> float | None:
        """Measure what grouping changes about the loss of the Trainer's own code, which may round coarser than ours."""
        noise = None
        for size in sorted({each for each in sizes if each > 1}):
            singles = [self.batch([row]) for row in rows[:size]]
            counts = [count_targets(b["labels"], shifts=shifts) for b in singles]
            if not all(counts):
                continue
            total = math.fsum(
                float(self._own_loss(b, trainer, shifts=shifts)) * n for b, n in zip(singles, counts, strict=True)
            )
            grouped = float(self._own_loss(self.batch(rows[:size]), trainer, shifts=shifts))
            noise = max(noise or 0.0, relative_difference(grouped, total / sum(counts)))
        return noise

    @torch.no_grad()
    def _counted(self, batch: Batch, *, shifts: bool) -> tuple[float | None, str | None]:
        """Hand the model twice the count of target tokens: it returns half its mean if it uses the count."""
        count = torch.tensor(2 * count_targets(batch["labels"], shifts=shifts), device=self._device)
        try:
            with self.precision():
                loss = find_loss(self._model(**batch, num_items_in_batch=count))
        except (TypeError, ValueError) as error:
            return None, str(error)
        return (None if loss is None else float(loss)), None

    def _loss_location(self, batch: Batch, trainer: Any, *, shifts: bool) -> tuple[CodeLocation, ...]:
        watch = ScalarTrace(self._model, trainer)
        with torch.no_grad(), self.precision(), watch:
            loss = own_mean(trainer, batch, shifts=shifts)
        return watch.location_of(loss)

    def _gradient_norms(
        self, batches: Sequence[Batch], step_sizes: Sequence[int], trainer: Any, *, shifts: bool
    ) -> dict[int, float]:
        """Return the norm of the right gradient over the first R rows, for every R in `step_sizes`.

        The gradients of the sums add up; the right one is their sum over the target tokens.
        """
        norms: dict[int, float] = {}
        self._model.zero_grad(set_to_none=True)
        num_rows, num_targets, summed = 0, 0, SummedGradients(self._model)
        with hooks_muted(self._model):
            for batch in batches:
                count = count_targets(batch["labels"], shifts=shifts)
                num_rows += len(batch["labels"])
                num_targets += count
                if count:
                    torch.autograd.backward(self._objective(batch, count, trainer, shifts=shifts))
                    summed.take()
                norm = summed.norm() if num_rows in step_sizes else None
                if norm is not None and num_targets:
                    norms[num_rows] = norm / num_targets
        self._model.zero_grad(set_to_none=True)
        return norms

    def _gradient_noise(
        self, rows: Sequence[dict[str, Any]], size: int, norms: dict[int, float], trainer: Any, *, shifts: bool
    ) -> float | None:
        """Measure what grouping rows into micro-batches changes about the right gradient's norm."""
        most = max(norms, default=0)
        groups = [self.batch(rows[start : start + size]) for start in range(0, most, size)]
        grouped = self._gradient_norms(groups, [most], trainer, shifts=shifts)
        return relative_difference(grouped[most], norms[most]) if most in grouped else None

    def _objective(self, batch: Batch, count: int, trainer: Any, *, shifts: bool) -> torch.Tensor:
        """Return a batch's summed loss with its graph: plain cross-entropy, or n times what the Trainer's code says."""
        with self.precision():
            own, outputs = own_loss(trainer, batch, shifts=shifts)
            own_sum: torch.Tensor = own * count
            logits = find_logits(outputs)
            if logits is None:
                return own_sum
            total = sum_nats(_at_tokens(logits, batch["labels"]), batch["labels"], shifts=shifts)
        noise = 2 * resolution(own.dtype)
        plain = relative_difference(float(own_sum.detach()), float(total.detach())) <= PLAIN_SLACK * noise
        return total if plain else own_sum


def _at_tokens(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Leave out logits in front of the tokens, as of an image: counted are the labels that are shifted among them."""
    return logits[:, -labels.shape[1] :]


def relative_difference(value: float, wanted: float) -> float:
    """Return |value − wanted| / |wanted|; infinite where it has no meaning."""
    if not math.isfinite(value) or not math.isfinite(wanted):
        return math.inf
    return abs(value - wanted) / abs(wanted) if wanted else (0.0 if value == wanted else math.inf)
