"""Why a class gives no loss is read from its own source, and what it gets wrong itself from its error."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers.modeling_outputs import ModelOutput

from gacheck.measure.heads.untrained import is_own_fault, refuses_labels, why_untrained


class Refusing:
    def forward(self, mask_labels: Any = None, class_labels: Any = None) -> Any:
        if mask_labels is not None or class_labels is not None:
            raise ValueError(
                "Training is not supported with `videos`. "
                'Use "images".'
            )  # fmt: skip
        return ModelOutput(loss=None)


class Answering:
    def forward(self, input_ids: Any = None, labels: Any = None) -> Any:
        return ModelOutput(logits=input_ids)


class HandingOn:
    def forward(self, input_ids: Any = None, labels: Any = None) -> Any:
        outputs = {"logits": input_ids}
        return ModelOutput(waveform=input_ids, **outputs)


class Checking:
    def forward(self, labels: Any = None, num_labels: int = 2) -> Any:
        if labels is not None and num_labels == 1:
            raise ValueError("The number of labels should be greater than one")
        loss = labels.sum()
        return ModelOutput(loss=loss)


def test_a_refusal_of_any_labels_is_quoted_whole() -> None:
    said = 'Training is not supported with `videos`. Use "images".'
    assert refuses_labels(Refusing) == why_untrained(Refusing) == said


def test_a_refusal_of_some_labels_is_none() -> None:
    assert why_untrained(Checking) is refuses_labels(Checking) is None


def test_a_forward_without_a_loss_has_none() -> None:
    assert why_untrained(Answering) == "its forward computes no loss, whatever it is given"
    assert refuses_labels(Answering) is None
    assert why_untrained(HandingOn) is None


def test_what_an_output_has_not_is_no_fault_of_the_rows() -> None:
    with pytest.raises(AttributeError) as of_output:
        getattr(ModelOutput(loss=torch.ones(())), "image_" + "outputs")
    with pytest.raises(AttributeError) as of_none:
        getattr(None, "sha" + "pe")
    assert is_own_fault(of_output.value)
    assert not is_own_fault(of_none.value)
