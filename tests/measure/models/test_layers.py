"""Layers are chosen so that every kind stays; fields that speak of layers say the same of those."""

from __future__ import annotations

from typing import Any

import pytest

from gacheck.measure.models.layers import MAX_LAYERS, clip_indexes, find_layers


def test_two_stay_of_layers_that_are_all_alike() -> None:
    assert find_layers({"num_hidden_layers": 32}, 32).kept == (0, 1)


@pytest.mark.parametrize(
    ("fields", "kept"),
    [
        # The first of each kind, and a second of each.
        ({"layer_types": ["a", "a", "a", "b"] * 3}, (0, 1, 3, 7)),
        ({"first_k_dense_replace": 3}, (0, 1, 3, 4)),
        ({"num_attention_heads_per_layer": [8] * 11 + [16]}, (0, 1, 11)),
        ({"cross_attention_layers": [4, 9]}, (0, 1, 4, 9)),
        # A pattern that is shorter than the model repeats.
        ({"block_types": ["recurrent", "recurrent", "attention"]}, (0, 1, 2, 5)),
        ({"per_layer_config": {"5": {"head_dim": 8}}}, (0, 1, 5)),
    ],
)
def test_every_kind_stays(fields: dict[str, Any], kept: tuple[int, ...]) -> None:
    assert find_layers(fields, 12).kept == kept


def test_the_length_of_the_layer_list_is_the_depth_where_none_is_named() -> None:
    layers = find_layers({"layers_block_type": ["mamba", "moe", "attention", "mlp"]}, None)
    assert (layers.depth, layers.kept) == (4, (0, 1, 2, 3))
    assert layers.of_kept("layers_block_type", ["mamba", "moe", "attention", "mlp"]) == [
        "mamba",
        "moe",
        "attention",
        "mlp",
    ]


def test_every_value_stays_before_every_combination() -> None:
    # Each layer is of a kind of its own; the two that alone have a value stand at the end.
    many = {"layer_types": [str(i % 5) for i in range(20)], "sizes": [i // 2 for i in range(18)] + [98, 99]}
    kept = find_layers({"layer_types": many["layer_types"]}, 20).kept
    assert len(kept) == 5
    assert len(find_layers(many, 20).kept) == MAX_LAYERS


def test_fields_say_the_same_of_the_layers_that_stay() -> None:
    fields = {"layer_types": ["a", "a", "b"] * 4, "moe_layers": [2, 5, 8, 11]}
    layers = find_layers(fields, 12)
    assert layers.kept == (0, 1, 2, 5)
    assert layers.of_kept("layer_types", fields["layer_types"]) == ["a", "a", "b", "b"]
    assert layers.of_kept("moe_layers", fields["moe_layers"]) == [2, 3]
    assert layers.of_kept("per_layer_config", {"5": {"x": 1}, "7": {"x": 2}}) == {"3": {"x": 1}}
    assert layers.of_kept("id2label", {0: "a", 1: "b"}) is None
    assert layers.bound("first_k_dense_replace", 2) == 2
    assert layers.bound("hidden_size", 2) is None


def test_parts_of_the_depth_stay_parts_of_it() -> None:
    parts = {"n_input_layers": 8, "n_recurrent_layers": 8, "n_output_layers": 8, "num_hidden_layers": 24}
    layers = find_layers(parts, 24)
    assert layers.kept == (0, 1, 8, 16)
    assert [layers.bound(name, 8) for name in list(parts)[:3]] == [2, 1, 1]


@pytest.mark.parametrize(
    ("name", "value", "clipped"),
    [
        ("vision_feature_layer", [24, 18], [1, 0]),
        ("vision_feature_layer", [-2, -5, 6], [-2, -2, 0]),
        ("vision_feature_layer", 9, 1),
        ("vision_feature_layer", -2, None),
        ("insert_layer_id", 6, 1),
        ("num_layers", 6, None),
        ("patch_size", [14, 14], None),
    ],
)
def test_indexes_of_layers_elsewhere_are_clipped(name: str, value: Any, clipped: Any) -> None:
    assert clip_indexes(name, value) == clipped
