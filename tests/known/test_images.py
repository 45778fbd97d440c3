"""Models for images and text, given both: a bare Trainer on the same rows says what the verdict has to be."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import LlavaForConditionalGeneration, Trainer, TrainingArguments

from gacheck.config import ExperimentConfig
from gacheck.measure.experiment import measure_auto
from gacheck.measure.heads.rows import IMAGE_AND_TEXT, make_head_rows
from gacheck.measure.models.source import open_model
from gacheck.measure.session import Session
from gacheck.words.analysis import Analysis, analyse
from tests.known.quiet import QUIET

pytestmark = pytest.mark.usefixtures("no_traces")

K = 4
# Whole images, patches one after another, images as one of several, an image before its tiles.
LAYOUTS = {
    "gemma3": (3, 32, 32),
    "llava": (3, 32, 32),
    "qwen2_vl": (16, 384),
    "qwen2_5_vl": (16, 384),
    "idefics3": (1, 3, 32, 32),
    "llava_next": (3, 3, 32, 32),
}
# A change of less than this comes from the sizes of the micro-batches; times k is far from it.
NEARLY = 0.2
# The Trainer logs four decimals.
EXACTLY = 2e-4

each_type = pytest.mark.parametrize("model_type", LAYOUTS)


class Drops(LlavaForConditionalGeneration):  # type: ignore[misc]
    """Does not hand the count to its loss."""

    def forward(self, *args: Any, num_items_in_batch: Any = None, **kwargs: Any) -> Any:
        return super().forward(*args, **kwargs)


def configured(model_type: str, **options: Any) -> ExperimentConfig:
    given = {"model": f"tiny:{model_type}", "task": IMAGE_AND_TEXT, "gradient_accumulation_steps": (K,), "max_steps": 2}
    return ExperimentConfig.model_validate({**given, **options})


@dataclass(frozen=True)
class Truth:
    """The first step of a bare Trainer, and what plain torch says of its rows.

    Attributes:
        losses: That it logs at k = 1 and at k = 4.
        norms: Of the gradients, before clipping.
        right: The mean over all target tokens.
    """

    losses: tuple[float, float]
    norms: tuple[float, float]
    right: float


def truth_of(folder: Path, model_type: str, **options: Any) -> Truth:
    logged = []
    for k in (1, K):
        config = configured(model_type, **options)
        model, _ = open_model(config).load_model()
        rows, collate = make_head_rows(model, IMAGE_AND_TEXT, config)
        arguments = TrainingArguments(
            str(folder),
            per_device_train_batch_size=len(rows.train) // k,
            gradient_accumulation_steps=k,
            max_steps=1,
            learning_rate=0.0,
            logging_steps=1,
            **QUIET,
        )
        trainer = Trainer(model, arguments, train_dataset=rows.train, data_collator=collate)
        trainer.train()
        logged.append(trainer.state.log_history[0])
    batch = collate(rows.train)
    with torch.no_grad():
        logits = model(**{name: value for name, value in batch.items() if name != "labels"}).logits
    right = float(cross_entropy(logits[:, :-1].flatten(0, 1), batch["labels"][:, 1:].flatten()))
    first, second = logged
    return Truth((first["loss"], second["loss"]), (first["grad_norm"], second["grad_norm"]), right)


@cache
def measured(model_type: str, model_class: str | None = None) -> Analysis:
    config = configured(model_type, model_class=model_class)
    return analyse(measure_auto(config, Session(config)))


@each_type
def test_rows_have_images_and_text(model_type: str) -> None:
    config = configured(model_type)
    model, _ = open_model(config).load_model()
    rows, _ = make_head_rows(model, IMAGE_AND_TEXT, config)
    row = rows.train[0]

    assert tuple(row["pixel_values"].shape) == LAYOUTS[model_type]
    # Tokens of the image are not scored; all others are.
    is_text = row["labels"].ne(-100)
    assert 0 < int(is_text.sum()) < len(is_text)
    assert row["labels"][is_text].equal(row["input_ids"][is_text])
    assert len({len(each["input_ids"]) for each in rows.train}) > 4
    # The image is read: without it the loss is another.
    assert not rows.train[0]["pixel_values"].equal(rows.train[1]["pixel_values"])


@each_type
def test_the_verdict_is_what_a_bare_trainer_demands(model_type: str, tmp_path: Path) -> None:
    truth = truth_of(tmp_path, model_type)
    (one, several), (norm, norm_of_several) = truth.losses, truth.norms
    verdict = measured(model_type).verdict

    assert one == pytest.approx(truth.right, rel=EXACTLY)
    if several == pytest.approx(one, rel=EXACTLY) and norm_of_several == pytest.approx(norm, rel=EXACTLY):
        assert verdict.code == "OK", verdict.words
    else:
        # Of classes that declare that they take no count, though they do.
        assert several == pytest.approx(one, rel=NEARLY)
        assert verdict.code == "MEAN_OF_MEANS", verdict.words
        assert "accepts_loss_kwargs = False" in verdict.words.cause + verdict.words.fix


def test_a_class_that_drops_the_count_is_caught(tmp_path: Path) -> None:
    named = f"{Drops.__module__}:{Drops.__name__}"
    truth = truth_of(tmp_path, "llava", model_class=named)
    verdict = measured("llava", named).verdict

    assert truth.losses[1] / truth.losses[0] == pytest.approx(K, rel=NEARLY)
    assert truth.norms[1] / truth.norms[0] == pytest.approx(K, rel=NEARLY)
    assert (verdict.code, verdict.affects) == ("SCALED_BY_ACCUMULATION", "both"), verdict.words
