"""The right answer of a head: what a watched training of two steps tells, since no logits say it of a row by itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from accelerate.utils import send_to_device

from gacheck.errors import NothingSeenError
from gacheck.measure.heads.collator import HeadCollator
from gacheck.measure.live_check import watch_first_steps
from gacheck.record.parts import OracleRecord
from gacheck.rules.facts import WatchedTraining
from gacheck.watch.batches import count_labels
from gacheck.watch.own_loss import find_loss


class WatchedOracle:
    """Knows no row beforehand: each step's right answer comes from the repeats of its own micro-batches.

    Args:
        model: On its device.
        collator: Puts rows together.
    """

    def __init__(self, model: Any, collator: HeadCollator) -> None:
        self._model = model
        self._collator = collator

    def answer(
        self, trainer: Any, rows: Any, micro_batch_sizes: Sequence[int], step_sizes: Sequence[int]
    ) -> OracleRecord:
        """Tell what is known before the passes: where the loss is computed, how exact it is, what becomes of a count.

        Args:
            trainer: At the largest k, as it sets itself up.
            rows: That it trains on.
            micro_batch_sizes: Rows per micro-batch of the passes.
            step_sizes: Rows per first optimizer step of the passes.

        Raises:
            NothingSeenError: It came to no end of a step.
        """
        counted, refusal = self._counted(rows[: max(micro_batch_sizes)], count=True)
        plain, _ = self._counted(rows[: max(micro_batch_sizes)], count=False)
        seen = self._watched(trainer)
        if seen is None:
            raise NothingSeenError(
                "The Trainer came to no end of an optimizer step.",
                why="Its train() is not that of transformers.Trainer.",
                fix="attach to the training itself:  gacheck attach -- python train.py",
            )
        known = {"plain_loss_nats": plain, "counted_loss_nats": counted, "counted_loss_error": refusal}
        return OracleRecord.of_watched(seen).model_copy(update=known)

    def _watched(self, trainer: Any) -> WatchedTraining | None:
        """Watch the first steps; with the flag off where the model refuses the count, as the passes with it on will."""
        seen = watch_first_steps(trainer)
        if seen is None or seen.refused is None:
            return seen
        trainer.model_accepts_loss_kwargs = False
        return watch_first_steps(trainer)

    def mean_nats(self, rows: Sequence[Any], *, shifts: bool) -> float:
        """Have no rows that no pass sees."""
        raise ValueError("no rows are held out")

    @torch.no_grad()
    def _counted(self, rows: Sequence[Any], *, count: bool) -> tuple[float | None, str | None]:
        """Return the model's own loss, or that with twice the count of labels: half as large if it uses the count."""
        device = next(self._model.parameters()).device
        batch = send_to_device(self._collator(rows), device)
        given: dict[str, Any] = {}
        if count:
            if not isinstance(batch.get("labels"), torch.Tensor):
                return None, None
            given["num_items_in_batch"] = torch.tensor(2 * count_labels(batch["labels"]), device=device)
        try:
            loss = find_loss(self._model(**batch, **given))
        except (TypeError, ValueError) as error:
            return None, str(error)
        return (None if loss is None else float(loss)), None
