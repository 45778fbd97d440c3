"""What a Trainer is asked besides its training: the answer is that of the same forward, and no trace stays."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch
from torch.nn import functional

from gacheck.watch.cross_entropy import sum_nats
from gacheck.watch.micro_batch import MicroBatchReader
from gacheck.watch.replays import ask_location, ask_own_loss
from tests.watch.toys import BATCHES, IGNORED, VOCABULARY, Spied, ToyModel, ToyTrainer, same_state, state_of

INPUTS = BATCHES[0]
NUM_TARGETS = 3
K = 2


def after_a_step(trainer: ToyTrainer, count: Any = None) -> tuple[MicroBatchReader, float]:
    """Do a training step on the first micro-batch; return what was seen and the loss."""
    torch.manual_seed(1)
    watch = MicroBatchReader(trainer.model, INPUTS, (True,))
    with watch.watching():
        loss = trainer.training_step(trainer.model, INPUTS, count)
    # The training goes on: what comes later draws other numbers.
    torch.rand(3)
    return watch, float(loss)


def smoothed(**options: Any) -> ToyTrainer:
    return ToyTrainer(ToyModel(dropout=0.5, smoothing=0.3), **options)


def test_the_own_mean_is_that_of_the_same_forward() -> None:
    trainer = smoothed()
    watch, loss = after_a_step(trainer)
    answer = ask_own_loss(trainer, watch, shifts=True, scale=1.0)

    # The step reported the mean over k.
    assert answer.mean_nats == pytest.approx(K * loss, rel=1e-6)
    # Label smoothing is no plain cross-entropy.
    assert answer.mean_nats * NUM_TARGETS != pytest.approx(watch.readers[True].sum_nats, rel=1e-3)


def test_with_other_elements_dropped_it_would_be_another() -> None:
    # The control: the question does draw random numbers.
    trainer = smoothed()
    watch, _ = after_a_step(trainer)
    first = ask_own_loss(trainer, watch, shifts=True, scale=1.0).mean_nats
    torch.manual_seed(2)
    assert float(trainer.model(**INPUTS).loss.detach()) != pytest.approx(first, rel=1e-3)


@pytest.mark.parametrize(
    ("count", "scale", "weight"),
    [
        (None, 1.0, 1 / (K * NUM_TARGETS)),  # a mean over k
        (4, 1.0, 1 / 4),  # the sum over the step's 4
        (4, 2.0, 2 / 4),
    ],
)
def test_the_weight_is_read_against_the_own_gradient(count: int | None, scale: float, weight: float) -> None:
    trainer = smoothed(scale=scale)
    watch, _ = after_a_step(trainer, count)
    answer = ask_own_loss(trainer, watch, shifts=True, scale=1.0)

    assert answer.weight is not None
    assert answer.weight.weight == pytest.approx(weight, rel=1e-5)
    assert answer.weight.spread < 1e-5
    # Against the gradient of plain cross-entropy there is no such weight.
    plain = watch.readers[True].weight(watch.readers[True].directions)
    assert plain is not None
    assert plain.spread > 0.01


def test_mixed_precision_s_scale_is_taken_off() -> None:
    trainer = smoothed(scale=1024.0)
    watch, _ = after_a_step(trainer)
    answer = ask_own_loss(trainer, watch, shifts=True, scale=1024.0)

    assert answer.weight is not None
    assert answer.weight.weight == pytest.approx(1 / (K * NUM_TARGETS), rel=1e-5)


@pytest.mark.parametrize("question", [ask_own_loss, ask_location], ids=lambda f: f.__name__)
def test_no_trace_is_left(question: Any) -> None:
    trainer = smoothed()
    watch, _ = after_a_step(trainer)
    before, books, hooks = state_of(trainer), repr(vars(trainer)["books"]), dict(trainer.model._forward_hooks)
    assert any(p.grad is not None for p in trainer.model.parameters())
    question(trainer, watch, shifts=True, **({"scale": 1.0} if question is ask_own_loss else {}))

    assert same_state(before, state_of(trainer))
    assert repr(trainer.books) == books
    assert dict(trainer.model._forward_hooks) == hooks
    # The control: a forward by itself leaves traces in all of them.
    trainer.compute_loss(trainer.model, dict(INPUTS))
    assert not same_state(before, state_of(trainer))
    assert repr(trainer.books) != books


@pytest.mark.parametrize("question", [ask_own_loss, ask_location], ids=lambda f: f.__name__)
def test_no_trace_is_left_by_a_question_that_fails(question: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = smoothed()
    watch, _ = after_a_step(trainer)
    before, books = state_of(trainer), repr(trainer.books)

    def fail(*args: Any, **kwargs: Any) -> Any:
        ToyTrainer.compute_loss(trainer, *args, **kwargs)
        raise RuntimeError("stop")

    monkeypatch.setattr(trainer, "compute_loss", fail)
    with pytest.raises(RuntimeError, match="stop"):
        question(trainer, watch, shifts=True, **({"scale": 1.0} if question is ask_own_loss else {}))
    assert same_state(before, state_of(trainer))
    assert (repr(trainer.books), dict(trainer.model._forward_hooks)) == (books, {})


def test_a_function_of_one_s_own_is_given_the_micro_batch_s_own_count() -> None:
    counts = Spied()

    def by_count(outputs: Any, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
        counts.append(int(num_items_in_batch))
        return sum_nats(outputs.logits, labels, shifts=True) / num_items_in_batch + 1

    trainer = ToyTrainer(ToyModel(dropout=0.5))
    trainer.compute_loss_func = by_count
    watch, loss = after_a_step(trainer, 12)
    answer = ask_own_loss(trainer, watch, shifts=True, scale=1.0)

    assert counts[:] == [12, NUM_TARGETS]
    assert (answer.mean_nats - 1) * NUM_TARGETS == pytest.approx((loss - 1) * 12, rel=1e-6)
    assert answer.weight is not None
    assert answer.weight.weight == pytest.approx(1 / 12, rel=1e-5)


def test_without_logits_there_is_a_mean_and_no_weight() -> None:
    class Fused(ToyModel):
        def forward(self, input_ids: torch.Tensor, labels: Any = None, num_items_in_batch: Any = None) -> Any:
            outputs = super().forward(input_ids, labels, num_items_in_batch)
            outputs.logits = None if labels is not None else outputs.logits
            return outputs

    trainer = ToyTrainer(Fused(dropout=0.5))
    watch, loss = after_a_step(trainer)
    answer = ask_own_loss(trainer, watch, shifts=True, scale=1.0)

    assert answer.weight is None
    assert answer.mean_nats == pytest.approx(K * loss, rel=1e-6)


def test_a_loss_that_does_not_come_from_the_logits_has_no_weight() -> None:
    class Beside(ToyModel):
        def loss_of(self, logits: torch.Tensor, labels: torch.Tensor, num_items_in_batch: Any) -> torch.Tensor:
            return self.embedding.weight.square().mean()

    trainer = ToyTrainer(Beside())
    watch, loss = after_a_step(trainer)
    answer = ask_own_loss(trainer, watch, shifts=True, scale=1.0)

    assert (answer.mean_nats, answer.weight) == (pytest.approx(K * loss), None)


def line_of(code: Any, text: str) -> int:
    lines, first = inspect.getsourcelines(code)
    return next(first + i for i, line in enumerate(lines) if text in line)


def test_the_line_of_the_loss_is_found() -> None:
    trainer = smoothed()
    watch, _ = after_a_step(trainer)
    lines = ask_location(trainer, watch, shifts=True)

    assert [line.function for line in lines] == ["loss_of"]
    assert lines[-1].line == line_of(ToyModel.loss_of, "return total / count")


def test_the_line_is_the_trainer_s_where_it_computes_the_loss() -> None:
    class Own(ToyTrainer):
        def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **kwargs: Any) -> Any:
            labels = inputs.pop("labels")
            logits = model(**inputs).logits[:, :-1].reshape(-1, VOCABULARY)
            return functional.cross_entropy(logits, labels[:, 1:].reshape(-1), ignore_index=IGNORED)

    trainer = Own()
    watch, _ = after_a_step(trainer)
    [line] = ask_location(trainer, watch, shifts=True)

    assert (line.function, line.line) == ("compute_loss", line_of(Own.compute_loss, "return functional"))
