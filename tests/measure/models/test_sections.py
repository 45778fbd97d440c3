"""Rotary sections sum to half of a small head, in the proportion that they had."""

from __future__ import annotations

import pytest
from transformers import PretrainedConfig

from gacheck.measure.models.sections import divide, sectioned


@pytest.mark.parametrize(
    ("shares", "parts"),
    [([16, 24, 24], [2, 3, 3]), ([22, 22, 20], [3, 3, 2]), ([1, 1], [4, 4]), ([8, 12, 12], [2, 3, 3]), ([7], [8])],
)
def test_divide_keeps_the_sum_and_what_is_equal(shares: list[int], parts: list[int]) -> None:
    assert divide(8, shares) == parts


class Config(PretrainedConfig):
    """Its module has no models beside it, and names "mrope_section", [22, 22, 20] like this."""


def test_sections_of_the_config_are_divided() -> None:
    rope = {"rope_type": "default", "mrope_section": [16, 24, 24]}
    assert sectioned(Config, {"rope_scaling": rope}) == {"rope_scaling": {**rope, "mrope_section": [2, 3, 3]}}


def test_sections_that_only_the_models_know_are_given_to_the_text() -> None:
    found = sectioned(Config, {"vocab_size": 300, "rope_parameters": None})
    assert found == {"rope_parameters": {"rope_type": "default", "mrope_section": [3, 3, 2]}}
    assert sectioned(Config, {"rope_parameters": None}) == {}


def test_every_kind_of_layer_has_its_own() -> None:
    ropes = {"full": {"mrope_section": [2, 2]}, "sliding": {"mrope_section": [6, 2], "partial_rotary_factor": 0.5}}
    found = sectioned(Config, {"rope_parameters": ropes})["rope_parameters"]
    assert [found[kind]["mrope_section"] for kind in ropes] == [[4, 4], [3, 1]]
