"""One training step under watch: which logits are read, and a forward of their own where there are none."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn import functional

from gacheck.watch.cross_entropy import PIECE, align, measure, resolution, sum_nats, without_unscored_first
from gacheck.watch.micro_batch import MicroBatchReader, scored_labels
from tests.watch.toys import Spied

LABELS = torch.tensor([[1, 2, 0, 2], [0, 1, -100, -100]])
INPUTS = {"input_ids": torch.tensor([[1, 2, 0, 2], [0, 1, 2, 2]]), "labels": LABELS}


class Fused(torch.nn.Module):
    """Gives a loss and no logits where it is handed labels, as a fused cross-entropy does."""

    def __init__(self, dropout: float = 0.5) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = torch.nn.Embedding(3, 8)
        self.dropout = torch.nn.Dropout(dropout)
        self.head = torch.nn.Linear(8, 3)
        self.asked, self.logits = Spied(), Spied()

    def forward(self, input_ids: torch.Tensor, labels: torch.Tensor | None = None, **kwargs: Any) -> SimpleNamespace:
        self.asked.append({"input_ids", *kwargs, *(["labels"] if labels is not None else [])})
        logits = self.head(self.dropout(self.embedding(input_ids)))
        self.logits.append(logits.detach())
        if labels is None and "skip_logits" not in kwargs:
            return SimpleNamespace(loss=None, logits=logits)
        loss = sum_nats(logits.float(), LABELS, shifts=True) / 10
        return SimpleNamespace(loss=loss, logits=None)


class Open(Fused):
    """The same, and it gives its logits."""

    def forward(self, input_ids: torch.Tensor, labels: torch.Tensor | None = None, **kwargs: Any) -> SimpleNamespace:
        out = super().forward(input_ids)
        loss = sum_nats(out.logits, LABELS, shifts=True) / 10
        return SimpleNamespace(loss=loss, logits=out.logits)


def step(model: torch.nn.Module, watch: MicroBatchReader, **more: Any) -> torch.Tensor:
    with watch.watching():
        loss: torch.Tensor = model(**watch.inputs, **more).loss
        loss.backward()
    return loss


def test_logits_of_the_training_s_own_forward_are_read() -> None:
    model = Open()
    watch = MicroBatchReader(model, INPUTS, True)
    loss = step(model, watch)

    # One forward: 4 targets, whose sum the loss divides by 10.
    assert len(model.asked) == 1
    assert watch.readers[True].sum_nats == pytest.approx(float(loss.detach()) * 10)
    weight = watch.readers[True].weight()
    assert weight is not None
    assert weight.weight == pytest.approx(0.1)
    assert watch.backward.loss == pytest.approx(float(loss.detach()))
    assert watch.trouble is None


@pytest.mark.parametrize("more", [{}, {"num_items_in_batch": 10}, {"shift_labels": LABELS}], ids=str)
def test_a_forward_of_its_own_where_there_are_no_logits(more: dict[str, Any]) -> None:
    model = Fused()
    watch = MicroBatchReader(model, INPUTS, True)
    loss = step(model, watch, **more)

    assert watch.trouble is None
    # Asked once as the training asks, then for logits alone; with the same elements dropped, so S is the same.
    assert model.asked[:] == [{"input_ids", "labels", *more}, {"input_ids"}]
    assert torch.equal(model.logits[0], model.logits[1])
    assert watch.readers[True].sum_nats == pytest.approx(float(loss.detach()) * 10, rel=1e-6)
    # No gradient passes through logits of a forward of their own.
    assert watch.readers[True].weight() is None


@pytest.mark.parametrize("scores_first", [True, False])
def test_logits_in_front_of_the_labels_score_the_first_where_the_loss_does(scores_first: bool) -> None:
    """Five logits for four labels, as of a virtual token, or of an image that is cut off before the labels shift."""

    class Fronted(Fused):
        def forward(
            self, input_ids: torch.Tensor, labels: torch.Tensor | None = None, **kwargs: Any
        ) -> SimpleNamespace:
            logits = self.head(self.embedding(torch.cat([input_ids[:, :1], input_ids], 1)))
            scored, wanted = (logits[:, :-1], LABELS) if scores_first else (logits[:, 1:-1], LABELS[:, 1:])
            loss = functional.cross_entropy(scored.reshape(-1, 3), wanted.reshape(-1), reduction="sum") / 10
            return SimpleNamespace(loss=loss, logits=logits)

    model = Fronted()
    watch = MicroBatchReader(model, INPUTS, True)
    loss = step(model, watch)
    reader, seen = watch.readers[True], model(INPUTS["input_ids"])

    assert reader.num_targets == int((LABELS if scores_first else LABELS[:, 1:]).ne(-100).sum())
    assert reader.sum_nats == pytest.approx(float(loss.detach()) * 10, rel=1e-6)
    weight = reader.weight()
    assert weight is not None
    assert (weight.weight, weight.spread) == (pytest.approx(0.1), pytest.approx(0.0, abs=1e-6))
    for loss in (seen.loss, seen.loss.detach()):
        mean = without_unscored_first(loss * 10 / reader.num_targets, seen.logits, LABELS)
        assert (mean[:, 0].eq(-100).all(), torch.equal(mean[:, 1:], LABELS[:, 1:])) == (not scores_first, True)


def test_dropout_would_show_in_another_forward() -> None:
    model = Fused()
    first, second = model(INPUTS["input_ids"]).logits, model(INPUTS["input_ids"]).logits
    assert not torch.equal(first, second)


def test_the_forward_of_its_own_leaves_no_trace() -> None:
    after = []
    for watched in (False, True):
        model = Fused()
        torch.manual_seed(1)
        if watched:
            step(model, MicroBatchReader(model, INPUTS, None))
        else:
            model(**INPUTS).loss.backward()
        assert model.head.weight.grad is not None
        after.append((torch.get_rng_state(), model.head.weight.grad, model.embedding.weight.grad))
        assert not model._forward_hooks
        assert not model._forward_pre_hooks

    assert all(torch.equal(bare, seen) for bare, seen in zip(*after, strict=True))


def test_a_switch_among_the_arguments_is_left_out_of_it() -> None:
    model = Fused()
    watch = MicroBatchReader(model, INPUTS, True)
    step(model, watch, skip_logits=True)

    assert model.asked[1:] == [{"input_ids"}]
    assert watch.readers[True].sum_nats is not None


def test_an_argument_that_it_needs_is_handed_over_the_second_time() -> None:
    class Needy(Fused):
        def forward(
            self, input_ids: torch.Tensor, labels: torch.Tensor | None = None, **kwargs: Any
        ) -> SimpleNamespace:
            out = super().forward(input_ids, labels, **kwargs)
            return out if "temperature" in kwargs else SimpleNamespace(loss=out.loss, logits=None)

    model = Needy()
    watch = MicroBatchReader(model, INPUTS, True)
    step(model, watch, temperature=2)

    assert model.asked[1:] == [{"input_ids"}, {"input_ids", "temperature"}]
    assert watch.readers[True].sum_nats is not None


def test_nothing_is_read_of_a_model_that_never_gives_logits() -> None:
    class Silent(Fused):
        def forward(
            self, input_ids: torch.Tensor, labels: torch.Tensor | None = None, **kwargs: Any
        ) -> SimpleNamespace:
            return SimpleNamespace(loss=super().forward(input_ids, LABELS).loss, logits=None)

    model = Silent()
    watch = MicroBatchReader(model, INPUTS, True)
    loss = step(model, watch)

    assert watch.readers[True].sum_nats is None
    assert watch.backward.loss == pytest.approx(float(loss.detach()))


def test_an_error_within_is_kept_and_the_step_goes_on() -> None:
    class Refusing(Fused):
        def forward(
            self, input_ids: torch.Tensor, labels: torch.Tensor | None = None, **kwargs: Any
        ) -> SimpleNamespace:
            if labels is None:
                raise KeyError("labels")
            return super().forward(input_ids, labels, **kwargs)

    model = Refusing()
    watch = MicroBatchReader(model, INPUTS, True)
    step(model, watch)

    assert isinstance(watch.trouble, KeyError)
    assert model.head.weight.grad is not None


def test_forwards_without_gradients_are_not_the_training_s() -> None:
    model = Open()
    watch = MicroBatchReader(model, INPUTS, True)
    with watch.watching(), torch.no_grad():
        model(**INPUTS)

    assert watch.readers[True].sum_nats is None


def test_both_alignments_are_watched_where_it_is_not_known() -> None:
    model = Open(dropout=0.0)
    watch = MicroBatchReader(model, INPUTS, None)
    step(model, watch)

    nats = {shifts: float(sum_nats(model.logits[0], LABELS, shifts=shifts)) for shifts in (True, False)}
    assert {shifts: w.sum_nats for shifts, w in watch.readers.items()} == pytest.approx(nats)
    assert nats[True] != pytest.approx(nats[False])
    spreads = {s: weight.spread for s, w in watch.readers.items() if (weight := w.weight()) is not None}
    assert spreads[True] < 1e-5
    assert spreads[False] > 0.05
    assert all(0 < w.noise_nats < 1e-6 * nats[shifts] for shifts, w in watch.readers.items())


def test_noise_counts_that_other_logits_are_blurred() -> None:
    noises = []
    for model, blur in ((Open(dropout=0.0), 0.0), (Fused(dropout=0.0), resolution(torch.bfloat16))):
        watch = MicroBatchReader(model.to(torch.bfloat16), INPUTS, None)
        step(model, watch)
        logits = model.logits[0]
        for shifts, reader in watch.readers.items():
            _, wanted = measure(logits, align(logits, LABELS, shifts=shifts), blur=blur)
            assert reader.noise_nats == pytest.approx(wanted, rel=1e-3)
        noises.append(watch.readers[True].noise_nats)

    assert noises[0] < 1e-5 < noises[1]


def test_the_trainer_may_take_the_labels_out() -> None:
    inputs = dict(INPUTS)
    watch = MicroBatchReader(Open(), inputs, True)
    inputs.pop("labels")

    assert torch.equal(watch.inputs["labels"], LABELS)


@pytest.mark.parametrize(
    ("inputs", "shifted"),
    [
        ({"labels": LABELS}, False),
        ({"labels": LABELS, "shift_labels": LABELS + 1}, True),
        ({"shift_labels": LABELS + 1}, True),
        ({"labels": LABELS, "shift_labels": None}, False),
        ({"labels": LABELS, "shift_labels": LABELS.flatten()}, False),
    ],
)
def test_labels_that_the_collator_has_shifted_go_first(inputs: dict[str, Any], shifted: bool) -> None:
    labels, is_shifted = scored_labels(inputs)

    assert is_shifted is shifted
    assert torch.equal(labels, inputs["shift_labels" if shifted else "labels"])


@pytest.mark.parametrize("inputs", [{}, {"labels": None}, {"labels": torch.tensor([1.0, 2.0])}, {"labels": [[1, 2]]}])
def test_without_labels_there_is_nothing_to_watch(inputs: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="labels"):
        MicroBatchReader(Open(), inputs, True)


def test_shifted_labels_are_scored_where_they_stand() -> None:
    shifted = torch.tensor([[2, 0, 2, -100], [1, -100, -100, -100]])
    watch = MicroBatchReader(Open(), {**INPUTS, "shift_labels": shifted}, None)

    assert list(watch.readers) == [False]
    assert torch.equal(watch.readers[False].labels, shifted)


@pytest.mark.parametrize(("dtype", "bits"), [(torch.float32, 23), (torch.bfloat16, 7), (torch.float16, 10)])
def test_four_roundings_of_half_an_epsilon(dtype: torch.dtype, bits: int) -> None:
    assert resolution(dtype) == 4 * 2.0**-bits / 2


@pytest.mark.parametrize("most", [1, 2, 3, 100])
@pytest.mark.parametrize("shifts", [True, False])
def test_pieces_change_nothing(monkeypatch: pytest.MonkeyPatch, most: int, shifts: bool) -> None:
    # `most` positions of 3 logits at a time; the second row has no targets beyond its first two.
    assert PIECE > 3 * 8
    logits = torch.randn((2, 4, 3), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    logits.requires_grad_()
    monkeypatch.setattr("gacheck.watch.cross_entropy.PIECE", 3 * most + 1)
    scored, wanted = (logits[:, :-1], LABELS[:, 1:]) if shifts else (logits, LABELS)
    whole = functional.cross_entropy(scored.reshape(-1, 3), wanted.reshape(-1), ignore_index=-100, reduction="sum")
    (right,) = torch.autograd.grad(whole, logits)

    found = sum_nats(logits, LABELS, shifts=shifts)
    (gradient,) = torch.autograd.grad(found, logits)
    assert float(found.detach()) == pytest.approx(float(whole.detach()), rel=1e-14)
    torch.testing.assert_close(gradient, right, rtol=1e-14, atol=0)


def test_the_graph_of_many_logits_holds_no_second_copy_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = torch.randn((1, 512, 100), requires_grad=True)
    labels = torch.randint(0, 100, (1, 512))
    monkeypatch.setattr("gacheck.watch.cross_entropy.PIECE", 10 * 100)
    held: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() != logits.data_ptr():
            held[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        sum_nats(logits, labels, shifts=True)
    assert sum(held.values()) < logits.untyped_storage().nbytes() / 10


def test_classes_that_are_masked_have_no_share_in_the_noise() -> None:
    logits = torch.randn((2, 4, 3), generator=torch.Generator().manual_seed(0))
    masked = torch.cat([logits, torch.full((2, 4, 1), torch.finfo(torch.float32).min)], -1)
    (sums, noise), (of_masked, with_masked) = (
        measure(each, align(each, LABELS, shifts=True)) for each in (logits, masked)
    )
    assert (of_masked, with_masked) == (sums, noise)

    # A target that is masked all the same has its share.
    wanted = LABELS.where(LABELS == -100, 3)
    assert measure(masked, align(masked, wanted, shifts=True))[1] > 1e30


def test_logits_of_other_rows_than_the_labels_are_not_read() -> None:
    """As of a codec's channels, that a model makes rows of."""

    class Channels(Fused):
        def forward(
            self, input_ids: torch.Tensor, labels: torch.Tensor | None = None, **kwargs: Any
        ) -> SimpleNamespace:
            logits = self.head(self.embedding(torch.cat([input_ids, input_ids])))
            return SimpleNamespace(loss=logits.square().mean(), logits=logits)

    model = Channels()
    watch = MicroBatchReader(model, INPUTS, None)
    step(model, watch)

    assert watch.trouble is None
    assert [each.sum_nats for each in watch.readers.values()] == [None, None]


def test_a_vocabulary_larger_than_a_piece_is_read_position_by_position(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gacheck.watch.cross_entropy.PIECE", 2)
    logits = torch.full((2, 4, 3), 0.7)

    assert float(sum_nats(logits, LABELS, shifts=True)) == pytest.approx(4 * math.log(3))
