"""Tasks are those of transformers' auto classes; which class a name, a folder or a task means."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import CONFIG_MAPPING, AutoConfig, BertConfig, BertForMaskedLM, BertModel, LlamaConfig

from gacheck.config import ExperimentConfig
from gacheck.errors import ConfigError, ModelError
from gacheck.measure.heads.tasks import auto_classes, class_for, class_names, is_causal, task_name, task_of
from gacheck.measure.models.building import find_head, named_class
from gacheck.measure.models.source import open_model

SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "vocab_size": 300,
}


def config(**options: Any) -> ExperimentConfig:
    return ExperimentConfig.model_validate({"model": "tiny:bert", **options})


@pytest.mark.parametrize(
    ("auto", "name"),
    [
        ("AutoModelForCausalLM", "causal-lm"),
        ("AutoModelForSeq2SeqLM", "seq2seq-lm"),
        ("AutoModelForSpeechSeq2Seq", "speech-seq2seq"),
        ("AutoModelForCTC", "ctc"),
        ("AutoModelForTokenClassification", "token-classification"),
        ("AutoModelForImageTextToText", "image-text-to-text"),
    ],
)
def test_a_task_is_called_as_its_auto_class(auto: str, name: str) -> None:
    assert task_name(auto) == name
    assert auto_classes()[name].__name__ == auto


@pytest.mark.parametrize(
    ("class_name", "task"),
    [
        ("BertForMaskedLM", "masked-lm"),
        ("T5ForConditionalGeneration", "seq2seq-lm"),
        ("WhisperForConditionalGeneration", "speech-seq2seq"),
        ("Wav2Vec2ForCTC", "ctc"),
        ("LlamaForSequenceClassification", "sequence-classification"),
        ("BertForPreTraining", "pre-training"),
        ("LlamaForCausalLM", "causal-lm"),
        ("NoSuchClass", None),
    ],
)
def test_the_task_of_a_class(class_name: str, task: str | None) -> None:
    assert task_of(class_name) == task
    if task is not None:
        assert class_name in class_names(task)


def test_the_class_for_a_task() -> None:
    assert class_for("masked-lm", BertConfig) is BertForMaskedLM
    assert class_for("ctc", BertConfig) is None
    assert is_causal("causal-lm")
    assert not is_causal("masked-lm")


@pytest.mark.parametrize(
    ("name", "found"), [("BertForMaskedLM", True), ("BertModel", False), ("os.path", False), ("Trainer", False)]
)
def test_a_class_by_name_has_a_head(name: str, found: bool) -> None:
    assert (named_class(name) is not None) is found


def test_what_was_saved_is_what_is_built(tmp_path: Path) -> None:
    BertForMaskedLM(BertConfig(**SMALL)).save_pretrained(tmp_path)
    source = open_model(config(model=str(tmp_path)))
    model, facts = source.load_model()

    assert type(model) is BertForMaskedLM
    assert (source.task, facts.task, facts.random_weights) == ("masked-lm", "masked-lm", False)


def test_a_task_builds_another_head_on_the_same_folder(tmp_path: Path) -> None:
    BertForMaskedLM(BertConfig(**SMALL)).save_pretrained(tmp_path)
    _, facts = open_model(config(model=str(tmp_path), task="token-classification")).load_model()

    assert facts.class_name == "BertForTokenClassification"
    assert facts.task == "token-classification"


def test_a_model_without_a_head_is_the_language_model_of_its_type() -> None:
    head = find_head(LlamaConfig(), config(), "LlamaModel")

    assert (head.model_class.__name__, head.task) == ("LlamaForCausalLM", "causal-lm")


def test_the_saved_language_model_stays_one() -> None:
    head = find_head(AutoConfig.for_model("gemma3"), config(), "Gemma3ForConditionalGeneration")

    assert (head.model_class.__name__, head.task) == ("Gemma3ForConditionalGeneration", "causal-lm")


def test_a_stand_in_of_a_class() -> None:
    source = open_model(config(model="tiny:BertForSequenceClassification"))
    model, facts = source.load_model()

    assert (type(model).__name__, facts.task, facts.stand_in) == (
        "BertForSequenceClassification",
        "sequence-classification",
        True,
    )
    # An encoder that is to sort looks ahead.
    assert not model.config.is_decoder


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"task": "token-clasification"}, "did you mean token-classification"),
        ({"task": "ctc"}, "bert has no head for --task ctc"),
        ({"task": "zzz"}, "choose one of"),
    ],
)
def test_a_task_that_is_none(options: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_model(config(**options))
    assert said in str(caught.value)


def test_a_type_without_a_language_model_names_its_heads() -> None:
    with pytest.raises(ModelError) as caught:
        open_model(config(model="tiny:vit"))
    assert "image-classification" in str(caught.value)


def test_a_base_model_is_refused_by_name() -> None:
    with pytest.raises(ModelError) as caught:
        open_model(config(model=f"tiny:{BertModel.__name__}"))
    assert "BertModel has no loss" in str(caught.value)
    assert "tiny:bert" in str(caught.value)


def test_a_type_whose_language_model_takes_no_labels_is_refused() -> None:
    # One whose loss is computed elsewhere; before 5.24 there are none of it.
    if "diffusion_gemma" not in CONFIG_MAPPING:
        pytest.skip("not in this release of transformers")
    with pytest.raises(ModelError) as caught:
        open_model(config(model="tiny:diffusion_gemma"))
    assert "DiffusionGemmaForBlockDiffusion has no loss" in str(caught.value)
