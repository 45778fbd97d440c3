"""Whether `eval_loss` depends on the size of its batches: held against `Trainer.evaluate` itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from transformers import Trainer, TrainerCallback

import gacheck
from gacheck.words.analysis import Analysis
from tests.known.doors import watch
from tests.known.rows import LENGTHS, UNEQUAL, K
from tests.known.training import Training
from tests.measure.modelling import bench, tiny_model
from tests.trials.batches import Row

SAID = "eval_loss depends on per_device_eval_batch_size"
TOGETHER = 4
EQUAL = [{name: values[: min(LENGTHS)] for name, values in row.items()} for row in UNEQUAL]
ALONE = Training(arguments={"per_device_train_batch_size": 1})
FIRST = list(UNEQUAL[K - TOGETHER : K])
"""That step's rows, of which the last few are asked."""


class Forbidden(TrainerCallback):  # type: ignore[misc]
    """Somebody's own, which would draw or report."""

    def on_prediction_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        raise AssertionError("called")


class OwnLoop(Trainer):  # type: ignore[misc]
    """Does something that cannot be taken back."""

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> Any:
        raise AssertionError("called")


def evaluating(training: Training, rows: Sequence[Row] | None) -> Any:
    trainer = training.make()
    trainer.eval_dataset = rows
    return trainer


def true_losses(training: Training, rows: Sequence[Row]) -> tuple[float, float]:
    """Return what `evaluate` says of the same rows in one batch and one by one."""
    trainer, losses = training.make(), []
    for size in (len(rows), 1):
        trainer.args.per_device_eval_batch_size = size
        losses.append(float(trainer.evaluate(rows)["eval_loss"]))
    together, alone = losses
    return together, alone


def notes_of(analysis: Analysis) -> list[str]:
    return [note for note in analysis.verdict.words.notes if SAID in note]


def test_rows_of_unequal_length() -> None:
    analysis = gacheck.check(evaluating(ALONE, UNEQUAL[:1]))
    found = analysis.record.oracle.evaluation
    together, alone = true_losses(ALONE, FIRST)

    assert abs(together - alone) > 1e-4
    assert found is not None
    assert found.num_rows == TOGETHER
    assert found.together_nats == pytest.approx(together, rel=1e-6)
    assert found.alone_nats == pytest.approx(alone, rel=1e-6)
    (note,) = notes_of(analysis)
    assert "for 4 rows in one batch" in note
    assert analysis.verdict.code == "OK"


def test_rows_of_equal_length_are_the_same_at_any_size() -> None:
    training = replace(ALONE, rows=EQUAL)
    together, alone = true_losses(training, EQUAL[:TOGETHER])
    analysis = gacheck.check(evaluating(training, EQUAL[:1]))

    assert together == pytest.approx(alone, rel=1e-6)
    assert analysis.record.oracle.evaluation is not None
    assert not notes_of(analysis)


def test_a_run_asks_about_its_own_rows() -> None:
    at_work = bench(tiny_model())
    found = at_work.runner.ask_oracle().evaluation
    rows = [at_work.rows.train[number] for number in range(TOGETHER)]
    training = Training(model=tiny_model, collator=at_work.collator)
    together, alone = true_losses(training, rows)

    assert found is not None
    assert (found.together_nats, found.alone_nats) == pytest.approx((together, alone), rel=1e-6)
    assert abs(together - alone) > 1e-4


def test_a_training_that_does_not_evaluate_is_not_asked() -> None:
    assert gacheck.check(evaluating(ALONE, None)).record.oracle.evaluation is None


def test_somebodys_own_loop_and_callbacks_are_not_called() -> None:
    own = evaluating(replace(ALONE, trainer=OwnLoop), UNEQUAL[:1])
    called_back = evaluating(ALONE, UNEQUAL[:1])
    called_back.add_callback(Forbidden())

    assert watch(own).record.oracle.evaluation is None
    assert watch(called_back).record.oracle.evaluation is not None
