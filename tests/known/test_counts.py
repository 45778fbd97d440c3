"""Labels of every shape, divided by the Trainer's count: right at every k, and k times too large where it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn import functional
from transformers import Trainer
from transformers.trainer_pt_utils import LabelSmoother

import gacheck
from tests.known.heads import (
    BERT,
    CLASSES,
    HEADS,
    NUM_ROWS,
    SMALL,
    SORTING,
    WAV2VEC2,
    Head,
    Row,
    bare_step,
    each_token,
    rows,
    sounds,
    text,
)

pytestmark = pytest.mark.usefixtures("no_traces")

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def column(generator: torch.Generator, number: int, ids: torch.Tensor) -> torch.Tensor:
    return torch.tensor([number % CLASSES])


def flags(generator: torch.Generator, number: int, ids: torch.Tensor) -> torch.Tensor:
    return torch.randint(0, 2, (CLASSES,), generator=generator).float()


def height(generator: torch.Generator, number: int, ids: torch.Tensor) -> torch.Tensor:
    return torch.randn(1, generator=generator)


def classes(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return functional.cross_entropy(logits, labels.view(-1), reduction="sum")


def binary(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return functional.binary_cross_entropy_with_logits(logits, labels, reduction="sum")


def squared(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return functional.mse_loss(logits, labels, reduction="sum")


def distance(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The squared distance of the expected class from the one that is meant."""
    expected = (logits.softmax(-1) * torch.arange(logits.shape[-1])).sum(-1)
    return (expected - labels).square()[labels >= 0].sum()


SEQUENCES, TOKENS = "BertForSequenceClassification", "BertForTokenClassification"
CASES: dict[str, tuple[Head, Loss]] = {
    "a column of classes": (Head(SEQUENCES, {**BERT, **SORTING}, lambda: text(column)), classes),
    "several labels": (Head(SEQUENCES, {**BERT, **SORTING}, lambda: text(flags)), binary),
    "a column of numbers": (Head(SEQUENCES, {**BERT, "num_labels": 1}, lambda: text(height)), squared),
    "a distance for every token": (Head(TOKENS, {**BERT, **SORTING}, lambda: text(each_token)), distance),
}


def divided(loss: Loss, factor: Callable[[Any], float]) -> type[Trainer]:
    class Divides(Trainer):  # type: ignore[misc]
        def compute_loss(
            self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            labels = inputs["labels"]
            outputs = model(**{name: value for name, value in inputs.items() if name != "labels"})
            count = labels.ne(-100).sum() if num_items_in_batch is None else num_items_in_batch
            total = factor(self) * loss(outputs.logits, labels) / count
            return (total, outputs) if return_outputs else total

    return Divides


def under(kind: type[Trainer], head: Head) -> Trainer:
    trainer = head.trainer(4, num_steps=2)
    trainer.__class__ = kind
    trainer.model_accepts_loss_kwargs = True
    return trainer


@pytest.mark.parametrize("name", CASES)
def test_divided_by_the_count_it_is_right(name: str) -> None:
    head, loss = CASES[name]
    verdict = gacheck.check(under(divided(loss, lambda trainer: 1.0), head)).verdict

    assert verdict.severity == "ok", verdict.words


@pytest.mark.parametrize("name", CASES)
def test_times_k_it_is_k_times_too_large(name: str) -> None:
    head, loss = CASES[name]
    scaled = divided(loss, lambda trainer: trainer.args.gradient_accumulation_steps)
    verdict = gacheck.check(under(scaled, head)).verdict

    assert (verdict.code, verdict.affects) == ("SCALED_BY_ACCUMULATION", "both"), verdict.words


def test_masked_tokens_beside_another_loss_are_counted_as_the_trainer_counts_them() -> None:
    # Neither its logits nor its name tell whether its labels are shifted; the first token of some rows is masked.
    def two_targets(generator: torch.Generator) -> list[Row]:
        chosen = [((0, 2), (1, 3))[number % 2] for number in range(NUM_ROWS)]
        ids = torch.randint(4, 40, (NUM_ROWS, 6), generator=generator)
        marked = [torch.full_like(row, -100) for row in ids]
        for row, labels, places in zip(ids, marked, chosen, strict=True):
            labels[list(places)] = row[list(places)]
        follow = torch.tensor([0, 1] * (NUM_ROWS // 2))
        return [
            {"input_ids": row, "labels": labels, "next_sentence_label": each}
            for row, labels, each in zip(ids, marked, follow, strict=True)
        ]

    class Shares(Trainer):  # type: ignore[misc]
        def compute_loss(
            self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            outputs = model(**inputs)
            counted = inputs["labels"].ne(-100).sum()
            loss = outputs.loss * (1 if num_items_in_batch is None else counted / num_items_in_batch)
            return (loss, outputs) if return_outputs else loss

    head = Head("BertForPreTraining", BERT, lambda: two_targets(torch.Generator().manual_seed(3)))
    verdict = gacheck.check(under(Shares, head)).verdict

    assert verdict.severity == "ok", verdict.words


def test_label_smoothing_of_a_column_of_classes() -> None:
    head, _ = CASES["a column of classes"]
    trainer = head.trainer(4, num_steps=2)
    trainer.label_smoother = LabelSmoother(0.1)

    assert gacheck.check(trainer).verdict.severity == "ok"


def test_a_sum_over_sounds_that_is_divided_by_the_count() -> None:
    head = Head("Wav2Vec2ForCTC", {**WAV2VEC2, "ctc_loss_reduction": "sum"}, sounds)

    class Divides(Trainer):  # type: ignore[misc]
        def compute_loss(
            self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            outputs = model(**inputs)
            count = inputs["labels"].ne(-100).sum() if num_items_in_batch is None else num_items_in_batch
            return (outputs.loss / count, outputs) if return_outputs else outputs.loss / count

    verdict = gacheck.check(under(Divides, head)).verdict
    assert verdict.severity == "ok", verdict.words


def frames() -> list[Row]:
    """Frames of sounds, each of one of the classes, as a column of zeros with a one."""
    return rows(
        lambda generator, number: {
            "input_features": torch.randn(12, 8, generator=generator),
            "labels": functional.one_hot(torch.randint(CLASSES, (12,), generator=generator), CLASSES),
        }
    )


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_what_a_config_says_of_one_head_is_not_said_of_another(reduction: str) -> None:
    """`ctc_loss_reduction` is there for every head of a model of sounds; the others take means."""
    fields = {**SMALL, **SORTING, "feature_projection_input_dim": 8, "hidden_dropout": 0.0, "attention_dropout": 0.0}
    fields |= {"feat_proj_dropout": 0.0, "conformer_conv_dropout": 0.0, "layerdrop": 0.0, "apply_spec_augment": False}
    head = Head("Wav2Vec2BertForAudioFrameClassification", {**fields, "ctc_loss_reduction": reduction}, frames)
    assert bare_step(head, 4).loss / bare_step(head, 1).loss == pytest.approx(4, rel=0.1)

    assert gacheck.check(head.trainer(4, num_steps=2)).verdict.code == "SCALED_BY_ACCUMULATION"


def test_a_loss_that_is_nothing_tells_nothing() -> None:
    head = HEADS[0]

    class Nothing(Trainer):  # type: ignore[misc]
        def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **kwargs: Any) -> Any:
            outputs = model(**inputs)
            return (outputs.loss * 0, outputs) if return_outputs else outputs.loss * 0

    verdict = gacheck.check(under(Nothing, head)).verdict
    assert verdict.code == "INCONCLUSIVE"
    assert "Every loss and every gradient is 0" in verdict.words.cause
