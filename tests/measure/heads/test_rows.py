"""Rows of heads: what their forward asks for, seeded, of unequal length; the error where nothing fits."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from transformers import PretrainedConfig
from transformers.modeling_outputs import ModelOutput

from gacheck.config import ExperimentConfig
from gacheck.errors import ConfigError, ModelError
from gacheck.measure.heads.collator import HeadCollator
from gacheck.measure.heads.maker import Maker
from gacheck.measure.heads.rows import make_head_rows, refuse_text_options
from gacheck.measure.models.inputs import forward_names
from gacheck.measure.models.source import open_model

CLASSES = {
    "BertForMaskedLM": {"input_ids", "attention_mask", "labels"},
    "BertForMultipleChoice": {"input_ids", "attention_mask", "labels"},
    "BertForQuestionAnswering": {"input_ids", "attention_mask", "start_positions", "end_positions"},
    "BertForPreTraining": {"input_ids", "attention_mask", "labels", "next_sentence_label"},
    "T5ForConditionalGeneration": {"input_ids", "attention_mask", "labels"},
    "ViTForImageClassification": {"pixel_values", "labels"},
    "ViTForMaskedImageModeling": {"pixel_values", "bool_masked_pos"},
    "VideoMAEForPreTraining": {"pixel_values", "bool_masked_pos"},
    "WhisperForConditionalGeneration": {"input_features", "labels"},
}


def rows_of(class_name: str, **options: Any) -> tuple[Any, HeadCollator, Any]:
    config = ExperimentConfig.model_validate({"model": f"tiny:{class_name}", "max_steps": 1, **options})
    source = open_model(config)
    model, _ = source.load_model()
    rows, collate = make_head_rows(model, source.task, config)
    return rows, collate, model


@pytest.mark.parametrize("class_name", CLASSES)
def test_a_batch_of_them_gives_a_loss(class_name: str) -> None:
    rows, collate, model = rows_of(class_name)

    assert set(rows.train[0]) == CLASSES[class_name]
    assert len(rows.train) == rows.facts.num_rows == 16
    assert bool(torch.isfinite(model(**collate(rows.train[:4])).loss))


def test_rows_of_text_are_of_unequal_length_and_padding_is_not_scored() -> None:
    rows, collate, _ = rows_of("BertForMaskedLM")
    lengths = [len(row["input_ids"]) for row in rows.train]
    batch = collate(rows.train)

    assert len(set(lengths)) > 4
    assert (rows.facts.min_length, rows.facts.max_length) == (min(lengths), max(lengths))
    padded = torch.arange(max(lengths)) >= torch.tensor(lengths)[:, None]
    assert set(batch["labels"][padded].tolist()) == {-100}
    assert set(batch["attention_mask"][padded].tolist()) == {0}
    # Some places are scored and some are not, in every row.
    counts = [int(row["labels"].ne(-100).sum()) for row in rows.train]
    assert all(0 < count < length for count, length in zip(counts, lengths, strict=True))


def test_the_seed_decides_them() -> None:
    prints = [rows_of("BertForMaskedLM", seed=seed)[0].facts.fingerprint for seed in (0, 0, 1)]

    assert prints[0] == prints[1] != prints[2]


@pytest.mark.parametrize(
    ("fields", "shape", "floats"),
    [
        ({}, (), False),
        ({"problem_type": "regression", "num_labels": 1}, (), True),
        ({"num_labels": 1}, (), True),
        ({"problem_type": "multi_label_classification"}, (2,), True),
    ],
)
def test_what_a_sequence_is_sorted_into_is_as_the_config_says(
    fields: dict[str, Any], shape: tuple[int, ...], floats: bool
) -> None:
    rows, _, _ = rows_of("BertForSequenceClassification", config_override=fields)
    labels = rows.train[0]["labels"]

    assert (tuple(labels.shape), labels.is_floating_point()) == (shape, floats)


def test_ids_are_none_of_the_special_ones() -> None:
    config = PretrainedConfig(pad_token_id=7, eos_token_id=9)
    config.vocab_size = 12
    drawn = Maker(config, "masked-lm", torch.Generator().manual_seed(0)).tokens(500)

    assert set(drawn[:-1].tolist()) == {4, 5, 6, 8, 10, 11}
    assert drawn[-1] == 9  # a row ends with its end


class Config(PretrainedConfig):
    model_type = "demanding"
    vocab_size = 20


class Demanding(nn.Module):
    """A head that cannot do without something, and says so."""

    main_input_name = "input_ids"
    config = Config()

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(
        self, input_ids: Any = None, attention_mask: Any = None, bbox: Any = None, wish: Any = None, labels: Any = None
    ) -> ModelOutput:
        self.check(bbox=bbox, wish=wish)
        return ModelOutput(loss=self.weight.sum() * input_ids.float().mean())

    def check(self, **given: Any) -> None:
        if given["bbox"] is None:
            raise ValueError("You have to specify bbox")


class Insatiable(Demanding):
    """One that wants what nobody can make."""

    def check(self, **given: Any) -> None:
        if given["wish"] is None:
            raise ValueError("You have to specify a wish")


def test_what_an_error_names_is_made() -> None:
    rows, _ = make_head_rows(Demanding(), "", ExperimentConfig(max_steps=1))

    assert rows.train[0]["bbox"].shape == (*rows.train[0]["input_ids"].shape, 4)


def test_what_cannot_be_made_is_the_error_s_reason() -> None:
    with pytest.raises(ModelError) as caught:
        make_head_rows(Insatiable(), "", ExperimentConfig(max_steps=1))

    assert "No rows could be made for Insatiable: ValueError: You have to specify a wish" in str(caught.value)
    assert "gacheck attach" in str(caught.value)


class Detecting(Demanding):
    """One whose labels are a mapping for each image, of as many objects as there are."""

    main_input_name = "pixel_values"

    def forward(self, pixel_values: Any = None, labels: Any = None) -> ModelOutput:
        assert len(labels) == len(pixel_values)
        assert all(each["boxes"].shape == (len(each["class_labels"]), 4) for each in labels)
        return ModelOutput(loss=self.weight.sum() * pixel_values.mean())


class Covering(Demanding):
    """One that is given the pixels of each object, in lists."""

    main_input_name = "pixel_values"

    def forward(self, pixel_values: Any = None, mask_labels: Any = None, class_labels: Any = None) -> ModelOutput:
        for pixels, masks, classes in zip(pixel_values, mask_labels, class_labels, strict=True):
            assert masks.shape == (len(classes), *pixels.shape[1:])
        return ModelOutput(loss=self.weight.sum() * pixel_values.mean())


class Unequipped(Demanding):
    """One that needs a package that is not there."""

    def check(self, **given: Any) -> None:
        raise ImportError("Matcher requires the nowhere_to_be_found library but it was not found in your environment.")


@pytest.mark.parametrize(("model", "task"), [(Detecting(), "object-detection"), (Covering(), "universal-segmentation")])
def test_objects_are_listed_image_by_image(model: Any, task: str) -> None:
    rows, collate = make_head_rows(model, task, ExperimentConfig(max_steps=1))
    counts = {len(row.get("labels", row)["class_labels"]) for row in rows.train}

    assert len(counts) > 2
    assert model(**collate(rows.train)).loss is not None


def test_a_missing_package_is_not_taken_for_a_demand() -> None:
    with pytest.raises(ImportError, match="nowhere_to_be_found"):
        make_head_rows(Unequipped(), "", ExperimentConfig(max_steps=1))


@pytest.mark.parametrize("options", [{"dataset": "x.txt"}, {"packing": True}])
def test_options_of_text_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        refuse_text_options(ExperimentConfig.model_validate(options), "masked-lm")
    assert "masked-lm" in str(caught.value)


def test_what_a_class_hands_on_by_name_it_asks_for_too() -> None:
    class Base(nn.Module):
        def forward(self, input_ids: Any, labels: Any = None) -> None:
            """Take two arguments."""

    class Own(Base):
        def forward(self, *args: Any, weight: float = 1.0, **kwargs: Any) -> None:
            super().forward(*args, **kwargs)

    assert {"weight", "input_ids", "labels"} <= forward_names(Own)
    assert "weight" not in forward_names(Base)


@pytest.mark.parametrize("class_name", ["Wav2Vec2ForCTC", "BertForSequenceClassification"])
def test_they_have_the_dtype_of_the_model(class_name: str) -> None:
    options = {"num_labels": 1} if class_name.startswith("Bert") else {}
    rows, collate, model = rows_of(class_name, dtype="bfloat16", config_override=options)

    model(**collate(rows.train[:2])).loss.backward()

    assert {v.dtype for v in rows.train[0].values() if v.is_floating_point()} == {torch.bfloat16}
