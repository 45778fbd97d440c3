"""The classes that take labels, as their source says it: held against what importing them shows."""

from __future__ import annotations

import pytest
import transformers

from gacheck.measure.heads.classes import head_classes
from gacheck.measure.heads.tasks import takes_labels, task_of
from gacheck.measure.models.inputs import forward_names


@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("BertForMaskedLM", "masked-lm"),
        ("LlamaForSequenceClassification", "sequence-classification"),  # its forward is inherited from a generic one
        ("XLMForQuestionAnswering", "question-answering"),  # no auto class makes it: it is called after one
        ("ViTForMaskedImageModeling", "masked-image-modeling"),  # its loss needs no labels
        ("CLIPModel", "zero-shot-image-classification"),  # what belongs together is its label
        ("GPT2DoubleHeadsModel", ""),
    ],
)
def test_a_head_has_its_task(name: str, task: str) -> None:
    assert head_classes()[name] == task


@pytest.mark.parametrize("name", ["BertModel", "RTDetrModel", "SamModel", "BertPreTrainedModel", "Trainer"])
def test_what_has_no_loss_is_none(name: str) -> None:
    # RTDetrModel looks at labels to add noise; SamModel calls what its prompts show labels.
    assert name not in head_classes()


def test_the_source_says_what_the_classes_say() -> None:
    family = [n for n in dir(transformers) if n.startswith(("Bert", "Gemma3", "Wav2Vec2For", "Luke", "T5"))]
    classes = {name: getattr(transformers, name) for name in family}
    models = {n: c for n, c in classes.items() if isinstance(c, type) and issubclass(c, transformers.PreTrainedModel)}
    imported = {n for n, c in models.items() if c.config_class is not None and takes_labels(forward_names(c))}

    found = {name for name in head_classes() if name in models}
    assert found <= imported | {name for name in models if task_of(name) in ("pre-training", "masked-image-modeling")}
    assert imported - found <= {"Gemma3Model"}  # it hands labels on, and has no loss
    assert len(found) > 20
