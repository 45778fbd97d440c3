"""Micro-batches that are repeated by themselves: what they mean, with the same dropout, and no trace stays."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest
import torch
from torch.nn import functional

from gacheck.rules.facts import Unit
from gacheck.watch.backward import watching_backward
from gacheck.watch.batches import rows_of
from gacheck.watch.cross_entropy import find_logits, sum_nats
from gacheck.watch.replays import (
    NotRepeatableError,
    Question,
    Replay,
    TriedStep,
    ask_location,
    gradient_noise,
    model_alignment,
    repeat,
    replay,
    returns_k_times,
    step_at_other_flag,
)
from gacheck.watch.restoring import RandomState
from gacheck.watch.sketches import Sketcher
from gacheck.watch.units import count_of_step, find_unit
from tests.watch.toys import BATCHES, IGNORED, VOCABULARY, Inputs, Spied, ToyModel, ToyTrainer, same_state, state_of

INPUTS = BATCHES[0]
NUM_TARGETS = 3
K = 2
# Three rows with 3, 1 and 2 targets where the labels shift, 4, 2 and 3 where they do not.
ROWS: Inputs = {
    "input_ids": torch.tensor([[1, 2, 3, 4], [4, 3, 1, 1], [2, 4, 1, 3]]),
    "labels": torch.tensor([[1, 2, 3, 4], [4, 3, IGNORED, IGNORED], [2, 4, 1, IGNORED]]),
}


def smoothed(**options: Any) -> ToyTrainer:
    return ToyTrainer(ToyModel(dropout=0.5, smoothing=0.3), **options)


def replayed(trainer: ToyTrainer, inputs: Inputs = INPUTS, shifts: bool | None = True, scale: float = 1.0) -> Replay:
    torch.manual_seed(1)
    return replay(trainer, Question(inputs), shifts, Sketcher(trainer.model), scale)


def sketched(trainer: ToyTrainer, loss: Callable[[], torch.Tensor]) -> torch.Tensor:
    """Take the gradient of a loss, from the same random state, and put it away."""
    torch.manual_seed(1)
    trainer.model.zero_grad(set_to_none=True)
    loss().backward()
    sketch = Sketcher(trainer.model).present()
    trainer.model.zero_grad(set_to_none=True)
    return sketch


def off_by(sketch: torch.Tensor | None, wanted: torch.Tensor) -> float:
    assert sketch is not None
    return float((sketch - wanted).norm() / wanted.norm())


# --- what a micro-batch means by itself ---------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "share"), [(None, 1 / K), (4, NUM_TARGETS / 4)], ids=["mean over k", "counted"])
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_it_is_what_the_step_that_follows_does_at_k_1(count: int | None, share: float, smoothing: float) -> None:
    # With dropout: the replay draws what the training is about to draw. The toy asks with the step's own count.
    trainer = ToyTrainer(ToyModel(dropout=0.5, smoothing=smoothing))
    found = replayed(trainer)
    grown = sketched(trainer, lambda: trainer.compute_loss(trainer.model, dict(INPUTS)))
    torch.manual_seed(1)
    loss = trainer.training_step(trainer.model, INPUTS, count)

    assert found.own_mean_nats * share == pytest.approx(float(loss), rel=1e-6)
    assert found.is_plain is (smoothing == 0)
    assert off_by(found.plain_gradient if found.is_plain else found.own_gradient, grown) < 1e-6
    assert off_by(Sketcher(trainer.model).present(), grown * share) < 1e-6


def test_other_elements_dropped_would_show() -> None:
    # The control: without the same random state it is another loss.
    trainer = smoothed()
    first = replayed(trainer).own_mean_nats
    torch.manual_seed(2)
    assert float(trainer.model(**INPUTS).loss.detach()) != pytest.approx(first, rel=1e-3)


def test_plain_cross_entropy_is_told_by_our_own_arithmetic() -> None:
    found = replayed(trainer := ToyTrainer(counted=True))
    logits = trainer.model(INPUTS["input_ids"]).logits.detach()
    mean = float(sum_nats(logits, INPUTS["labels"], shifts=True)) / NUM_TARGETS

    assert found.plain is not None
    assert (found.plain.num_targets, found.plain.shifts) == (NUM_TARGETS, True)
    assert found.plain.mean_nats == pytest.approx(mean, rel=1e-7)
    assert 0 < found.plain.noise_nats < 1e-6
    assert (found.is_plain, found.own_gradient) == (True, None)


def test_of_another_objective_both_gradients_are_told() -> None:
    trainer = smoothed()
    found = replayed(trainer)

    def cross_entropy() -> torch.Tensor:
        return sum_nats(trainer.model(INPUTS["input_ids"]).logits, INPUTS["labels"], shifts=True) / NUM_TARGETS

    assert found.plain is not None
    assert not found.is_plain
    assert found.own_mean_nats != pytest.approx(found.plain.mean_nats, rel=1e-3)
    assert off_by(found.plain_gradient, sketched(trainer, cross_entropy)) < 1e-6
    assert off_by(found.own_gradient, sketched(trainer, lambda: trainer.model(**INPUTS).loss)) < 1e-6


def test_without_a_sketcher_it_takes_no_gradients() -> None:
    trainer = smoothed()
    torch.manual_seed(1)
    found = replay(trainer, Question(INPUTS), True, None)

    assert (found.plain_gradient, found.own_gradient) == (None, None)
    assert found.own_mean_nats == replayed(smoothed()).own_mean_nats
    assert found.plain is not None


def test_mixed_precision_s_scale_is_taken_off() -> None:
    one, many = (replayed(smoothed(), scale=scale) for scale in (1.0, 1024.0))

    assert (one.own_mean_nats, one.plain) == (many.own_mean_nats, many.plain)
    assert one.plain_gradient is not None
    assert one.own_gradient is not None
    assert off_by(many.plain_gradient, one.plain_gradient) < 1e-6
    assert off_by(many.own_gradient, one.own_gradient) < 1e-6


class Beside(ToyModel):
    """Adds something whose value is 0 and whose gradient is not."""

    def loss_of(self, logits: torch.Tensor, labels: torch.Tensor, num_items_in_batch: Any) -> torch.Tensor:
        extra = self.head.weight.float().square().sum()
        return super().loss_of(logits, labels, num_items_in_batch) + extra - extra.detach()


@pytest.mark.parametrize(("model", "is_plain"), [(ToyModel, True), (Beside, False)])
def test_of_a_coarse_loss_the_gradient_tells_whether_it_is_plain(model: type[ToyModel], is_plain: bool) -> None:
    # In bfloat16 two losses that differ by half a per cent can come out the same.
    class Coarse(ToyTrainer):
        def compute_loss(self, model: Any, inputs: Inputs, return_outputs: bool = False, **kwargs: Any) -> Any:
            return super().compute_loss(model, inputs, **kwargs).bfloat16()

    found = replayed(Coarse(model()))

    assert found.is_plain is is_plain
    assert (found.own_gradient is None) is is_plain


class ByTheirCount(ToyTrainer):
    """Counts in a way of its own: rows, and twice the targets."""

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: Any = None) -> Any:
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        return batches, sum(len(b["labels"]) for b in batches) + 2 * self.count_of(batches)


@pytest.mark.parametrize(
    ("trainer", "is_counted", "given", "own_count"),
    [
        (ByTheirCount, True, 3 + 2 * 6, 15.0),
        (ByTheirCount, False, None, None),
        # By transformers' own, or where there is none, it is the targets.
        (ToyTrainer, False, None, None),
    ],
)
def test_the_count_of_the_micro_batch_alone_is_that_of_the_code_that_counts(
    trainer: type[ToyTrainer], is_counted: bool, given: int | None, own_count: float | None
) -> None:
    counts = Spied()

    class Asked(trainer):  # type: ignore[misc, valid-type]
        def compute_loss(self, model: Any, inputs: Inputs, return_outputs: bool = False, **kwargs: Any) -> Any:
            counts.append(kwargs.get("num_items_in_batch"))
            return super().compute_loss(model, inputs, return_outputs, **kwargs)

    torch.manual_seed(1)
    found = replay(Asked(), Question(ROWS, is_counted=is_counted), True, None)

    assert counts[:] == [given]
    assert found.own_count == own_count
    # The own loss is the sum over what was counted.
    assert found.plain is not None
    assert found.own_mean_nats == pytest.approx(found.plain.sum_nats / (given or 6), rel=1e-6)
    assert found.is_plain is (given is None)


@pytest.mark.parametrize(("dtype", "rounds"), [(torch.float32, False), (torch.bfloat16, True)])
def test_cross_entropy_over_a_count_of_its_own_may_be_rounded_as_the_logits_are(
    dtype: torch.dtype, rounds: bool
) -> None:
    class Rounded(ByTheirCount):
        def compute_loss(self, model: Any, inputs: Inputs, return_outputs: bool = False, **kwargs: Any) -> Any:
            return super().compute_loss(model, inputs, **kwargs).to(dtype).float()

    torch.manual_seed(1)
    found = replay(Rounded(ToyModel().to(dtype)), Question(ROWS, is_counted=True), True, None)

    assert found.plain is not None
    assert found.own_mean_nats == pytest.approx(found.plain.sum_nats / 15, rel=4e-3)
    assert (found.plain.noise_nats > 1e-3 * found.plain.mean_nats) is rounds


def test_of_transformers_own_count_the_targets_are_the_count(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = Spied()

    class Asked(ToyTrainer):
        def compute_loss(self, model: Any, inputs: Inputs, return_outputs: bool = False, **kwargs: Any) -> Any:
            counts.append(int(kwargs["num_items_in_batch"]))
            return super().compute_loss(model, inputs, return_outputs, **kwargs)

    monkeypatch.setattr(ToyTrainer.get_batch_samples, "__module__", "transformers.trainer")
    found = replay(Asked(), Question(ROWS, is_counted=True), None, None)

    assert counts[:] == [6]
    assert (found.own_count, found.is_plain) == (None, True)


def test_it_is_asked_with_the_inputs_that_the_training_prepared_from_the_state_then() -> None:
    class Preparing(ToyTrainer):
        def _prepare_inputs(self, inputs: Inputs) -> Inputs:
            raise AssertionError("they are prepared already")

    trainer = Preparing(ToyModel(dropout=0.5))
    torch.manual_seed(1)
    start = RandomState.now(trainer.model)
    wanted = float(trainer.model(**INPUTS).loss.detach())
    prepared = dict(INPUTS)
    found = replay(trainer, Question(BATCHES[1], prepared, start=start), True, None)

    assert found.own_mean_nats == wanted
    assert prepared.keys() == INPUTS.keys()


def test_code_may_take_apart_what_it_is_given() -> None:
    class Popping(ToyTrainer):
        def compute_loss(self, model: Any, inputs: Inputs, return_outputs: bool = False, **kwargs: Any) -> Any:
            labels = inputs.pop("labels")
            inputs["input_ids"] = inputs.pop("input_ids")
            return super().compute_loss(model, {**inputs, "labels": labels}, **kwargs)

    inputs = dict(INPUTS)

    assert replayed(Popping(), inputs).is_plain
    assert list(inputs) == ["input_ids", "labels"]


@pytest.mark.parametrize(
    ("over", "is_plain", "by_rows"), [("tokens", True, False), ("rows", False, True), ("sum", False, False)]
)
def test_a_mean_over_rows_is_cross_entropy_too(over: str, is_plain: bool, by_rows: bool) -> None:
    found = replayed(ByRow(over), ROWS)

    assert (found.is_plain, found.is_mean_over_rows) == (is_plain, by_rows)
    # Of one row both are the same.
    alone = replayed(ByRow(over), rows_of(ROWS, [0]))
    assert (alone.is_plain, alone.is_mean_over_rows) == (over != "sum", False)


@pytest.mark.parametrize(
    ("labels", "are_read"),
    [
        # The labels are what the model reads there; or they are tags of another kind.
        (INPUTS["input_ids"], True),
        (torch.tensor([[0, 0, 1, 0]]), False),
    ],
)
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_whether_the_model_reads_its_targets_is_seen(labels: torch.Tensor, are_read: bool, smoothing: float) -> None:
    trainer = ToyTrainer(ToyModel(shifts=False, smoothing=smoothing))
    found = replayed(trainer, {**INPUTS, "labels": labels}, None)

    assert found.plain is not None
    assert (found.plain.shifts, found.plain.is_aligned, found.plain.targets_are_read) == (False, True, are_read)


def test_nothing_is_logged_by_a_question() -> None:
    logged = Spied()

    class Logging(ToyTrainer):
        def log(self, what: str) -> None:  # type: ignore[override]
            logged.append(what)

        def compute_loss(self, model: Any, inputs: Inputs, return_outputs: bool = False, **kwargs: Any) -> Any:
            self.log("a loss")
            return super().compute_loss(model, inputs, return_outputs, **kwargs)

    trainer = Logging.__new__(Logging)
    ToyTrainer.__init__(trainer)
    del vars(trainer)["log"]
    replayed(trainer)
    assert logged[:] == []
    trainer.training_step(trainer.model, INPUTS)
    assert logged[:] == ["a loss"]


def test_a_replay_is_none_of_the_backwards_of_the_step_that_it_is_done_in() -> None:
    with watching_backward() as watched:
        replayed(smoothed())
        assert watched.roots == []
        torch.ones((), requires_grad=True).mul(3).backward()

    assert watched.loss == 3


@pytest.mark.parametrize("mode", ["is_fsdp_enabled", "is_deepspeed_enabled"])
def test_weights_that_are_spread_over_processes_give_no_gradient(mode: str) -> None:
    trainer = ToyTrainer()
    setattr(trainer, mode, True)

    with pytest.raises(NotRepeatableError, match="spread over several processes"):
        replayed(trainer)
    assert replay(trainer, Question(INPUTS), True, None).plain is not None


# --- which logits score which labels ------------------------------------------------------------------------------


@pytest.mark.parametrize("inputs", [INPUTS, BATCHES[1], ROWS], ids=["4 labels", "1 target", "3 rows"])
@pytest.mark.parametrize("smoothing", [0.0, 0.3], ids=["by its value", "by its gradient"])
@pytest.mark.parametrize("shifts", [True, False])
def test_whether_it_shifts_is_found(shifts: bool, smoothing: float, inputs: Inputs) -> None:
    found = replayed(ToyTrainer(ToyModel(shifts=shifts, smoothing=smoothing)), inputs, None)

    assert found.plain is not None
    assert found.plain.shifts is shifts
    assert found.plain.num_targets == int(inputs["labels"][:, 1 if shifts else 0 :].ne(IGNORED).sum())
    assert found.is_plain is (smoothing == 0)


class ByCount(ToyTrainer):
    """Hands a function of its own the count; one that does not shift divides by what it is given."""

    def __init__(self, shifts: bool, counts: Callable[[int], None]) -> None:
        super().__init__(ToyModel(shifts=shifts, dropout=0.5))

        def by_count(outputs: Any, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
            counts(int(num_items_in_batch))
            return sum_nats(outputs.logits, labels, shifts=shifts) / num_items_in_batch

        self.compute_loss_func = by_count


@pytest.mark.parametrize(
    ("shifts", "given", "counts"),
    [
        (True, True, [3]),
        (True, None, [3]),
        (False, False, [4]),
        # Assumed to shift it is asked with 3, found not to it is asked again with its 4.
        (False, None, [3, 4]),
    ],
)
def test_a_function_of_one_s_own_is_given_the_micro_batch_s_own_count(
    shifts: bool, given: bool | None, counts: list[int]
) -> None:
    seen = Spied()
    found = replayed(ByCount(shifts, seen.append), shifts=given)

    assert seen[:] == counts
    assert found.plain is not None
    assert (found.plain.shifts, found.plain.num_targets, found.is_plain) == (shifts, counts[-1], True)


def test_a_compute_loss_that_cannot_do_without_the_count_is_given_it() -> None:
    class Demanding(ToyTrainer):
        def compute_loss(self, model: Any, inputs: Inputs, return_outputs: bool = False, **kwargs: Any) -> Any:
            if kwargs.get("num_items_in_batch") is None:
                raise TypeError("unsupported operand type(s) for /: 'Tensor' and 'NoneType'")
            return super().compute_loss(model, inputs, return_outputs, **kwargs)

    found = replayed(Demanding())

    assert found.is_plain
    assert found.own_mean_nats == replayed(ToyTrainer()).own_mean_nats


def test_labels_that_the_collator_has_shifted_are_scored_where_they_stand() -> None:
    class Shifted(ToyTrainer):
        def compute_loss(self, model: Any, inputs: Inputs, return_outputs: bool = False, **kwargs: Any) -> Any:
            logits = model(inputs["input_ids"]).logits
            return functional.cross_entropy(logits.flatten(0, 1), inputs["shift_labels"].flatten())

    found = replayed(Shifted(), {**INPUTS, "shift_labels": torch.tensor([[2, 3, 4, IGNORED]])}, None)

    assert found.plain is not None
    assert (found.plain.shifts, found.plain.num_targets, found.is_plain) == (False, 3, True)


def test_a_micro_batch_without_targets_is_plain_and_adds_nothing() -> None:
    nothing = {**INPUTS, "labels": torch.full((1, 4), IGNORED)}
    found = replayed(ToyTrainer(), nothing)

    # The mean over nothing is no number.
    assert found.own_mean_nats != found.own_mean_nats
    assert found.plain is not None
    assert (found.plain.num_targets, found.plain.mean_nats, found.is_plain) == (0, 0.0, True)
    assert found.plain_gradient is not None
    assert float(found.plain_gradient.norm()) == 0


# --- trainings of another kind ------------------------------------------------------------------------------------


class Pairs(ToyTrainer):
    """Has no labels: every row is to be like itself and unlike the others."""

    def compute_loss(self, model: Any, inputs: Inputs, return_outputs: bool = False, **kwargs: Any) -> Any:
        means = model(inputs["input_ids"]).logits.mean(1)
        return functional.cross_entropy(means @ means.T, torch.arange(len(means)))


class ByRow(ToyTrainer):
    """Takes of every row its mean, and of these the mean or the sum."""

    def __init__(self, over: str) -> None:
        super().__init__()
        self.over = over

    def compute_loss(self, model: Any, inputs: Inputs, return_outputs: bool = False, **kwargs: Any) -> Any:
        logits, labels = model(inputs["input_ids"]).logits, inputs["labels"]
        sums = torch.stack([sum_nats(logits[i : i + 1], labels[i : i + 1], shifts=True) for i in range(len(labels))])
        counts = labels[:, 1:].ne(IGNORED).sum(1)
        return {"rows": (sums / counts).mean(), "tokens": sums.sum() / counts.sum(), "sum": sums.sum()}[self.over]


def test_without_labels_there_is_the_own_loss_alone() -> None:
    trainer = Pairs(ToyModel(dropout=0.5))
    inputs = {"input_ids": ROWS["input_ids"]}
    found = replayed(trainer, inputs, None)

    assert (found.plain, found.is_plain, found.plain_gradient) == (None, False, None)
    grown = sketched(trainer, lambda: trainer.compute_loss(trainer.model, inputs))
    assert off_by(found.own_gradient, grown) < 1e-6


def test_without_logits_they_come_from_a_forward_without_labels() -> None:
    class Fused(ToyModel):
        def forward(self, input_ids: torch.Tensor, labels: Any = None, num_items_in_batch: Any = None) -> Any:
            outputs = super().forward(input_ids, labels, num_items_in_batch)
            outputs.logits = None if labels is not None else outputs.logits
            return outputs

    fused, plain = replayed(ToyTrainer(Fused())), replayed(ToyTrainer())

    assert fused.plain is not None
    assert plain.plain is not None
    assert (fused.plain.sum_nats, fused.is_plain) == (plain.plain.sum_nats, True)
    # It may have multiplied its matrices in another order.
    assert fused.plain.noise_nats > plain.plain.noise_nats
    assert plain.plain_gradient is not None
    assert off_by(fused.plain_gradient, plain.plain_gradient) == 0


def test_a_loss_that_reaches_no_parameter_has_no_gradient() -> None:
    class Constant(ToyModel):
        def loss_of(self, logits: torch.Tensor, labels: torch.Tensor, num_items_in_batch: Any) -> torch.Tensor:
            return torch.tensor(3.0)

    found = replayed(ToyTrainer(Constant()))

    assert found.own_mean_nats == 3
    assert found.own_gradient is not None
    assert float(found.own_gradient.norm()) == 0


def test_a_loss_for_every_device_is_their_mean() -> None:
    class Twice(ToyTrainer):
        def compute_loss(self, model: Any, inputs: Inputs, return_outputs: bool = False, **kwargs: Any) -> Any:
            loss = super().compute_loss(model, inputs, **kwargs)
            return torch.stack([loss * 0.5, loss * 1.5])

    found = replayed(Twice())

    assert found.is_plain
    assert found.own_mean_nats == pytest.approx(replayed(ToyTrainer()).own_mean_nats, rel=1e-6)


@pytest.mark.parametrize(
    ("trainer", "unit"),
    [
        (lambda: ToyTrainer(ToyModel(dropout=0.5)), "tokens"),
        (lambda: smoothed(), "tokens"),
        (lambda: ByRow("tokens"), "tokens"),
        (lambda: ByRow("rows"), "rows"),
        (lambda: ByRow("sum"), "sum"),
        # One row by itself is no pair.
        (Pairs, None),
    ],
    ids=["plain", "smoothed", "tokens", "rows", "sum", "pairs"],
)
def test_the_unit_of_the_own_loss_is_found(trainer: Callable[[], ToyTrainer], unit: Unit | None) -> None:
    assert find_unit(trainer(), [ROWS], shifts=True) == unit
    # Of one row a micro-batch, those of the step are put together.
    singles = [rows_of(ROWS, [i]) for i in range(3)]
    assert find_unit(trainer(), singles, shifts=True) == unit


class Contrasted(ToyTrainer):
    """Holds every row against every other: of which none has a slope yet, as with a scale of 0, but a loss."""

    def compute_loss(self, model: Any, inputs: Inputs, return_outputs: bool = False, **kwargs: Any) -> Any:
        loss = super().compute_loss(model, inputs)
        return loss - loss.detach() + 0.7 * len(inputs["labels"])


def test_a_loss_that_adds_up_without_its_slope_is_no_sum() -> None:
    assert find_unit(Contrasted(ToyModel()), [ROWS], shifts=True) is None


# Those of the first pair have 3 + 2 targets, those of the second 1 + 1.
TWO_PAIRS: Inputs = {**rows_of(ROWS, [0, 1, 2, 1]), "pair": torch.tensor([7, 8, 7, 8])}


class Preferred(ToyTrainer):
    """Of each pair a row of the first half is preferred to one of the second; a mean over pairs, or their targets."""

    def __init__(self, over: str) -> None:
        super().__init__(ToyModel(dropout=0.5))
        self.over = over

    def compute_loss(self, model: Any, inputs: Inputs, return_outputs: bool = False, **kwargs: Any) -> Any:
        preferred, other = inputs["pair"].view(2, -1)
        if not torch.equal(preferred, other):
            raise ValueError("these are no pairs")
        logits, labels = model(inputs["input_ids"]).logits, inputs["labels"]
        sums = torch.stack([sum_nats(logits[i : i + 1], labels[i : i + 1], shifts=True) for i in range(len(labels))])
        pairs, targets = (each.view(2, -1).sum(0) for each in (sums, labels[:, 1:].ne(IGNORED).sum(1)))
        return {"rows": (pairs / targets).mean(), "tokens": pairs.sum() / targets.sum()}[self.over]


def test_where_no_row_by_itself_has_a_loss_that_is_said() -> None:
    class Nothing(ToyTrainer):
        def compute_loss(self, model: Any, inputs: Inputs, return_outputs: bool = False, **kwargs: Any) -> Any:
            pairs = torch.tensor(len(inputs["labels"]) // 2)
            return super().compute_loss(model, inputs) / pairs

    with pytest.raises(ValueError, match="no part has a loss"):
        find_unit(Nothing(), [ROWS], shifts=True)


@pytest.mark.parametrize("unit", ["rows", "tokens"])
def test_the_unit_of_a_loss_over_pairs_is_found(unit: Unit) -> None:
    trainer, singles = Preferred(unit), [rows_of(TWO_PAIRS, pair) for pair in ([0, 2], [1, 3])]

    with pytest.raises(RuntimeError):
        find_unit(trainer, [TWO_PAIRS], shifts=True)  # a row by itself has no loss
    assert find_unit(trainer, [TWO_PAIRS], 2, shifts=True) == unit
    # Of one pair a micro-batch, those of the step are put together.
    assert find_unit(trainer, singles, 2, shifts=True) == unit
    assert find_unit(trainer, [ROWS], 2, shifts=True) is None  # three rows are no pairs


def test_a_unit_that_cannot_be_told_is_not_named() -> None:
    # Three targets in each row, so rows are as good as tokens; and a row alone tells of neither.
    equal = {"input_ids": ROWS["input_ids"], "labels": ROWS["input_ids"]}

    assert find_unit(ToyTrainer(), [equal], shifts=True) is None
    assert find_unit(ToyTrainer(), [INPUTS], shifts=True) is None


class TimesK(ToyTrainer):
    """Multiplies by k itself, as it stands in the arguments or beside them."""

    place = "args"

    def compute_loss(self, model: Any, inputs: Inputs, return_outputs: bool = False, **kwargs: Any) -> Any:
        k = self.args.gradient_accumulation_steps if self.place == "args" else self.current_gradient_accumulation_steps
        return super().compute_loss(model, inputs, **kwargs) * k


@pytest.mark.parametrize("place", ["args", "step"])
def test_code_that_multiplies_by_k_is_asked_at_k_1(place: str) -> None:
    trainer = TimesK(k=4)
    trainer.place = place
    trainer.current_gradient_accumulation_steps = 4
    found = replayed(trainer)

    assert found.is_plain
    assert found.own_mean_nats == replayed(ToyTrainer()).own_mean_nats
    assert returns_k_times(trainer, INPUTS, shifts=True)
    assert (trainer.args.gradient_accumulation_steps, trainer.current_gradient_accumulation_steps) == (4, 4)


@pytest.mark.parametrize("trainer", [lambda: TimesK(k=1), lambda: ToyTrainer(k=4)], ids=["k = 1", "no k in it"])
def test_code_that_does_not_multiply_is_not_said_to(trainer: Callable[[], ToyTrainer]) -> None:
    assert not returns_k_times(trainer(), INPUTS, shifts=True)


# --- noise, and the first micro-batch twice -----------------------------------------------------------------------


def test_noise_is_what_two_scales_differ_by() -> None:
    trainer = smoothed()
    torch.manual_seed(1)
    noise = gradient_noise(trainer, INPUTS, Sketcher(trainer.model), 1.0)

    assert noise.shape == (len(Sketcher(trainer.model).names),)
    assert 0 < float(noise.norm()) < 1e-6


def test_a_gradient_that_is_nothing_has_no_noise() -> None:
    class Nothing(ToyModel):
        def loss_of(self, logits: torch.Tensor, labels: torch.Tensor, num_items_in_batch: Any) -> torch.Tensor:
            return logits.sum() * 0

    trainer = ToyTrainer(Nothing())
    assert float(gradient_noise(trainer, INPUTS, Sketcher(trainer.model), 1.0).norm()) == 0


@pytest.mark.parametrize("count", [None, 4])
def test_the_first_micro_batch_is_done_as_the_training_does_it(count: int | None) -> None:
    trainer, counts = smoothed(scale=1.5), Spied()

    def step(model: Any, inputs: Inputs, num_items_in_batch: Any) -> torch.Tensor:
        counts.append((trainer.args.gradient_accumulation_steps, num_items_in_batch))
        return trainer.training_step(model, inputs, num_items_in_batch)

    torch.manual_seed(1)
    first = repeat(trainer, step, trainer.model, INPUTS, (count,), {}, None)
    loss = step(trainer.model, INPUTS, count)

    assert first == (float(loss), None)
    assert counts[:] == [(K, count)] * 2


# --- a step at the other value of the flag ------------------------------------------------------------------------


@pytest.mark.parametrize(("counted", "count", "shares"), [(False, 4, (3 / 4, 1 / 4)), (True, None, (1 / 2, 1 / 2))])
def test_a_step_is_done_at_the_other_value_of_the_flag(
    counted: bool, count: int | None, shares: tuple[float, float]
) -> None:
    # As the Trainer would do it: with the step's own count of 3 + 1 targets, or with none.
    trainer = ToyTrainer(counted=counted)
    means, wanted = [], Sketcher(trainer.model).nothing()
    for inputs, share in zip(BATCHES, shares, strict=True):
        found = replayed(trainer, inputs)
        assert found.plain_gradient is not None
        means.append(share * found.own_mean_nats)
        wanted += share * found.plain_gradient
    batches = [(inputs, None) for inputs in BATCHES]
    tried = step_at_other_flag(trainer, trainer.training_step, trainer.model, batches, Sketcher(trainer.model), 1.0)

    assert tried.num_items == count
    assert tried.losses == pytest.approx(means, rel=1e-6)
    assert off_by(tried.gradient, wanted) < 1e-6
    assert trainer.model_accepts_loss_kwargs is counted


def test_a_step_at_the_other_value_of_the_flag_has_the_dropout_of_the_first() -> None:
    trainer, batches, losses = ToyTrainer(ToyModel(dropout=0.5)), [], []
    torch.manual_seed(1)
    for inputs in BATCHES:
        batches.append((inputs, RandomState.now(trainer.model)))
        losses.append(float(trainer.training_step(trainer.model, inputs)))
    tried = step_at_other_flag(trainer, trainer.training_step, trainer.model, batches, Sketcher(trainer.model), 1.0)

    # A mean over k = 2 of each one's mean, and a share of the 3 + 1 targets.
    assert tried.losses == pytest.approx([losses[0] * 2 * 3 / 4, losses[1] * 2 * 1 / 4], rel=1e-6)


@pytest.mark.parametrize("shifts", [True, False])
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_whether_the_model_s_own_loss_shifts_is_asked_of_the_model(shifts: bool, smoothing: float) -> None:
    # Whatever the Trainer makes of its logits: label smoothing of its own need not shift.
    class Other(ToyTrainer):
        def compute_loss(self, model: Any, inputs: Inputs, return_outputs: bool = False, **kwargs: Any) -> Any:
            logits = model(inputs["input_ids"]).logits.flatten(0, 1)
            return functional.cross_entropy(logits, inputs["labels"].flatten(), ignore_index=IGNORED)

    trainer = Other(ToyModel(shifts=shifts, smoothing=smoothing))

    assert model_alignment(trainer, INPUTS) is shifts
    found = replayed(trainer, shifts=None)
    assert found.plain is not None
    assert found.plain.shifts is False


def test_a_model_without_a_loss_tells_no_alignment() -> None:
    assert model_alignment(ToyTrainer(), {"input_ids": INPUTS["input_ids"]}) is None


# --- no trace -----------------------------------------------------------------------------------------------------


Asking = Callable[[ToyTrainer], Any]

QUESTIONS: dict[str, Asking] = {
    "replay": lambda t: replay(t, Question(ROWS), None, Sketcher(t.model)),
    "replay without gradients": lambda t: replay(t, Question(ROWS), None, None),
    "replay, counted": lambda t: replay(t, Question(ROWS, is_counted=True), None, Sketcher(t.model)),
    "repeat": lambda t: repeat(t, t.training_step, t.model, ROWS, (), {}, None),
    "gradient_noise": lambda t: gradient_noise(t, ROWS, Sketcher(t.model), 1.0),
    "find_unit": lambda t: find_unit(t, [ROWS], shifts=True),
    "returns_k_times": lambda t: returns_k_times(t, ROWS, shifts=True),
    "ask_location": lambda t: ask_location(t, ROWS, RandomState.now(t.model), shifts=True),
    "model_alignment": lambda t: model_alignment(t, ROWS),
    "step_at_other_flag": lambda t: at_other_flag(t),
}


class CountsCalls(ToyTrainer):
    """Keeps a book of how often it is asked to count."""

    def get_batch_samples(
        self, epoch_iterator: Iterator[Inputs], num_batches: int, device: Any = None
    ) -> tuple[list[Inputs], int | None]:
        self.books["losses"].append(1.0)
        batches = [next(epoch_iterator) for _ in range(num_batches)]
        return batches, self.count_of(batches)


COUNTED: dict[str, Asking] = {
    "gradient_noise": lambda t: gradient_noise(t, ROWS, Sketcher(t.model), 1.0, is_counted=True),
    "find_unit": lambda t: find_unit(t, [ROWS], shifts=True, is_counted=True),
    "count_of_step": lambda t: count_of_step(t, [ROWS, ROWS]),
    "returns_k_times": lambda t: returns_k_times(t, ROWS, shifts=True, is_counted=True),
}


@pytest.mark.parametrize("question", COUNTED)
def test_no_trace_is_left_by_asking_for_a_count(question: str) -> None:
    trainer = CountsCalls(ToyModel(dropout=0.5))
    traces = Traces(trainer)
    COUNTED[question](trainer)

    assert not traces.are_left


def at_other_flag(trainer: ToyTrainer) -> TriedStep:
    batches = [(ROWS, RandomState.now(trainer.model))] * 2
    return step_at_other_flag(trainer, trainer.training_step, trainer.model, batches, Sketcher(trainer.model), 1.0)


class Traces:
    """What a question may not change, of a training that is in the midst of a step."""

    def __init__(self, trainer: ToyTrainer) -> None:
        torch.manual_seed(1)
        trainer.training_step(trainer.model, INPUTS)
        self._trainer = trainer
        self._held = self._now()

    def _now(self) -> list[Any]:
        trainer, model = self._trainer, self._trainer.model
        gradients = [(id(p.grad), p.grad is None) for p in model.parameters()]
        hooks = [dict(module._forward_hooks) for module in model.modules()]
        hooks += [dict(getattr(p, "_post_accumulate_grad_hooks", None) or {}) for p in model.parameters()]
        modes = [module.training for module in model.modules()]
        arguments = dict(vars(trainer.args))
        books = repr(trainer.books), list(trainer.counts), sorted(vars(trainer))
        return [state_of(trainer), gradients, hooks, modes, arguments, books]

    @property
    def are_left(self) -> bool:
        (state, *rest), (state_now, *rest_now) = self._held, self._now()
        return rest != rest_now or not same_state(state, state_now)


@pytest.mark.parametrize("is_training", [True, False])
@pytest.mark.parametrize("question", QUESTIONS)
def test_no_trace_is_left(question: str, is_training: bool) -> None:
    trainer = smoothed()
    # A part that does not train stays so.
    trainer.model.norm.train(is_training)
    traces = Traces(trainer)
    assert not traces.are_left
    QUESTIONS[question](trainer)

    assert not traces.are_left
    # The control: a forward by itself leaves traces.
    trainer.compute_loss(trainer.model, dict(INPUTS))
    assert traces.are_left


@pytest.mark.parametrize("question", QUESTIONS)
def test_no_trace_is_left_by_a_question_that_fails(question: str, monkeypatch: pytest.MonkeyPatch) -> None:
    traces = Traces(trainer := smoothed())

    # The model's own loss is asked of the model alone.
    thing, name = (trainer.model, "loss_of") if question == "model_alignment" else (trainer, "compute_loss")
    original = getattr(thing, name)

    def fail(*args: Any, **kwargs: Any) -> Any:
        original(*args, **kwargs)
        raise RuntimeError("stop")

    with monkeypatch.context() as patched:
        patched.setattr(thing, name, fail)
        with pytest.raises(RuntimeError, match="stop"):
            QUESTIONS[question](trainer)
    assert not traces.are_left


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_forward_that_counts_its_calls_has_not_been_called(question: str) -> None:
    class Counting(ToyModel):
        num_calls = 0

        def forward(self, *args: Any, **kwargs: Any) -> Any:
            self.num_calls += 1
            self.head.latest = self.num_calls
            outputs = super().forward(*args, **kwargs)
            outputs.loss = None if outputs.loss is None else outputs.loss * self.num_calls
            return outputs

    trainer = ToyTrainer(Counting())
    trainer.training_step(trainer.model, INPUTS)
    QUESTIONS[question](trainer)

    assert (trainer.model.num_calls, trainer.model.head.latest) == (1, 1)


@pytest.mark.parametrize("question", QUESTIONS)
def test_an_optimizer_within_backward_does_not_act(question: str) -> None:
    # It updates a parameter as soon as it has its gradient, and frees that.
    trainer = ToyTrainer()

    def update(parameter: torch.Tensor) -> None:
        assert parameter.grad is not None
        parameter.data.sub_(parameter.grad)
        parameter.grad = None

    for parameter in trainer.model.parameters():
        parameter.register_post_accumulate_grad_hook(update)
    before = state_of(trainer)
    QUESTIONS[question](trainer)

    assert same_state(before, state_of(trainer))
    # The control: a step does.
    trainer.training_step(trainer.model, INPUTS)
    assert not same_state(before, state_of(trainer))


def test_hooks_that_wait_for_gradients_do_not_act() -> None:
    trainer = ToyTrainer()
    wanted = replayed(trainer).plain_gradient
    acted = Spied()

    def work(parameter: torch.Tensor) -> None:
        acted.append("update")
        parameter.data.mul_(0)

    def twice(gradient: torch.Tensor) -> torch.Tensor:
        acted.append("twice")
        return gradient * 2

    trainer.model.head.weight.register_post_accumulate_grad_hook(work)
    trainer.model.head.bias.register_hook(twice)
    trainer.model.embedding.register_full_backward_hook(lambda *args: acted.append("module"))
    found = replayed(trainer)

    assert acted[:] == []
    assert wanted is not None
    assert off_by(found.plain_gradient, wanted) == 0
    # The control: the training's own backward calls them.
    trainer.training_step(trainer.model, INPUTS)
    assert set(acted[:]) == {"update", "twice", "module"}


def test_a_gradient_that_is_whole_stays_the_same_tensor() -> None:
    trainer = ToyTrainer()
    trainer.training_step(trainer.model, INPUTS)
    held = [p.grad for p in trainer.model.parameters()]
    values = [g.clone() for g in held if g is not None]
    replayed(trainer)

    assert all(p.grad is g for p, g in zip(trainer.model.parameters(), held, strict=True))
    assert all(map(torch.equal, values, [g for g in held if g is not None]))


def test_what_is_kept_of_a_replay_has_no_graph() -> None:
    # A logits tensor that is kept alive is the largest thing of a step.
    found = replayed(smoothed())

    assert not any(value.requires_grad for value in vars(found).values() if isinstance(value, torch.Tensor))
    assert not any(isinstance(value, torch.Tensor) and value.dim() == 3 for value in vars(found).values())


def test_it_asks_under_the_trainer_s_own_precision() -> None:
    class Mixed(ToyTrainer):
        def compute_loss_context_manager(self) -> AbstractContextManager[Any]:
            return torch.autocast("cpu", dtype=torch.bfloat16)

    mixed, plain = replayed(Mixed()), replayed(ToyTrainer())

    assert isinstance(ToyTrainer().compute_loss_context_manager(), nullcontext)
    assert mixed.own_mean_nats != plain.own_mean_nats
    assert mixed.own_mean_nats == pytest.approx(plain.own_mean_nats, rel=2e-2)
    assert find_logits(Mixed().model(**INPUTS)) is not None


# --- which line -----------------------------------------------------------------------------------------------


def line_of(code: Any, text: str) -> int:
    lines, first = inspect.getsourcelines(code)
    return next(first + i for i, line in enumerate(lines) if text in line)


def test_the_line_of_the_loss_is_found() -> None:
    trainer = smoothed()
    lines = ask_location(trainer, ROWS, None, shifts=True)

    assert [line.function for line in lines] == ["loss_of"]
    assert lines[-1].line == line_of(ToyModel.loss_of, "return total / count")


def test_the_line_is_the_trainer_s_where_it_computes_the_loss() -> None:
    class Own(ToyTrainer):
        def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **kwargs: Any) -> Any:
            labels = inputs.pop("labels")
            logits = model(**inputs).logits[:, :-1].reshape(-1, VOCABULARY)
            return functional.cross_entropy(logits, labels[:, 1:].reshape(-1), ignore_index=IGNORED)

    trainer = Own()
    [line] = ask_location(trainer, ROWS, None, shifts=True)

    assert (line.function, line.line) == ("compute_loss", line_of(Own.compute_loss, "return functional"))
