"""Sizes that only together make a model small: the first of several stages, a factor of all widths, repeated blocks."""

from __future__ import annotations

import pytest
import torch
from transformers import CONFIG_MAPPING, PretrainedConfig

from gacheck.measure.models.building import named_class
from gacheck.measure.models.shrinking import shrink


def shrunk(model_type: str) -> PretrainedConfig:
    return shrink(CONFIG_MAPPING[model_type](), 300)


def test_the_first_of_several_stages_is_so_narrow_that_the_last_is_as_wide_as_all_else() -> None:
    config = shrunk("swin")
    assert (config.embed_dim, config.hidden_size) == (8, 64)
    assert shrunk("focalnet").embed_dim == 8, "where it lists the width of every stage, too"


def test_what_multiplies_all_widths_is_no_larger_than_one() -> None:
    config = shrunk("efficientnet")
    assert (config.width_coefficient, config.depth_coefficient) == (1.0, 1.0)
    assert shrunk("mobilevitv2").width_multiplier == 0.25


def test_there_are_several_classes_to_choose_from() -> None:
    assert shrunk("patchtst").num_targets == 2


@pytest.mark.parametrize(
    "name",
    [
        "SwinForImageClassification",
        "HieraForImageClassification",
        "EfficientNetForImageClassification",
        "PerceiverForMaskedLM",
        "PerceiverForImageClassificationLearned",
        "AlignModel",
        "MobileViTV2ForSemanticSegmentation",
        "VibeVoiceForConditionalGeneration",
        "FastSpeech2ConformerWithHifiGan",
    ],
)
def test_a_stand_in_is_small(name: str) -> None:
    found = named_class(name)
    with torch.device("meta"):
        model = found(shrink(found.config_class(), 300))
    assert sum(each.numel() for each in model.parameters()) < 5_000_000
