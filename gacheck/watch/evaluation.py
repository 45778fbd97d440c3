"""Asks a Trainer for `eval_loss` of the same rows, in one batch and one by one: it is a mean over batches."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial, reduce
from typing import Any, cast

import torch
from torch.utils.data import DataLoader

from gacheck.rules.facts import EvaluationFacts
from gacheck.watch.batches import joined, num_rows, rows_of
from gacheck.watch.overrides import is_of_transformers
from gacheck.watch.replays import SPREAD, aside
from gacheck.watch.units import MOST_ROWS_APART, several_rows

EVAL_BATCH_SIZE = "per_device_eval_batch_size"


def will_evaluate(trainer: Any) -> bool:
    """Whether a training has rows to evaluate on, and its weights in one place."""
    spread = any(getattr(trainer, f"is_{name}_enabled", False) for name in SPREAD)
    return getattr(trainer, "eval_dataset", None) is not None and not spread


def evaluate_twice(trainer: Any, batches: Sequence[Mapping[str, Any]]) -> EvaluationFacts | None:
    """Return `eval_loss` of a few rows, together and alone; None where it is not finite, or there is only one row.

    Only transformers' own loop is asked: another may log or save what cannot be taken back.

    Args:
        trainer: Of one process; left as it was.
        batches: As the data loader gives them; of rows that can be told apart and put together again.
    """
    if not is_of_transformers(trainer.evaluation_loop):
        return None
    inputs = several_rows(batches)
    count = min(num_rows(inputs), MOST_ROWS_APART)
    if count < 2:
        return None
    rows = [rows_of(inputs, [number]) for number in range(count)]
    together, alone = (_eval_loss(trainer, rows, size) for size in (count, 1))
    again = _eval_loss(trainer, rows, 1, draws=1)
    if not (math.isfinite(together) and alone == again):
        return None  # what is left to chance differs without batches of another size
    return EvaluationFacts(num_rows=count, together_nats=together, alone_nats=alone)


def _eval_loss(trainer: Any, rows: list[dict[str, Any]], batch_size: int, draws: int = 0) -> float:
    """Return the loss, after so many random numbers have been drawn."""
    with torch.no_grad(), aside(trainer):
        for device in {"cpu", str(trainer.args.device)}:
            torch.rand(draws, device=device)
        # Callbacks draw and report, and some optimizers put other weights in place for an evaluation.
        trainer.callback_handler.callbacks, trainer.optimizer = [], None
        vars(trainer.args)[EVAL_BATCH_SIZE] = batch_size
        loader: Any = DataLoader(cast(Any, rows), batch_size=batch_size, collate_fn=partial(reduce, joined))
        found = trainer.evaluation_loop(loader, "Evaluation", prediction_loss_only=True)
        return float(found.metrics.get("eval_loss", math.nan))
