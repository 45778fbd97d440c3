"""The stand-ins: every architecture named here is built tiny, and behaves like a causal LM with random weights."""

from __future__ import annotations

import inspect
import math
from typing import Any

import pytest
import torch
from transformers import CONFIG_MAPPING, PretrainedConfig, PreTrainedModel

from gacheck.errors import ModelError
from gacheck.measure.models.building import build_model
from gacheck.measure.models.shrinking import shrink
from gacheck.measure.models.stand_in import tiny_config


def tiny_model(model_type: str, vocab_size: int, seed: int) -> PreTrainedModel:
    return build_model(tiny_config(model_type, vocab_size), seed)


VOCAB_SIZE = 300
NAMED = [
    *("bloom", "deepseek_v3", "gemma3", "gemma3_text", "glm4v", "gpt2", "gpt_neox", "llama", "mamba", "mistral"),
    *("mixtral", "opt", "phi3", "qwen2", "qwen2_moe", "qwen3", "xlnet"),
]
# An older release lacks some of these types; asking it keeps the list honest in the newest.
INSTALLED = [model_type for model_type in NAMED if model_type in CONFIG_MAPPING]


def padded_batch(model: PreTrainedModel) -> dict[str, Any]:
    """Two rows of random tokens, the second padded on the right; no label on padding."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(4, VOCAB_SIZE, (2, 24), generator=generator)
    mask = torch.ones_like(ids)
    ids[1, 15:], mask[1, 15:] = 0, 0
    batch = {"input_ids": ids, "attention_mask": mask, "labels": ids.masked_fill(mask == 0, -100)}
    parameters = inspect.signature(model.forward).parameters
    # Some releases insist on these in training: zero says that every token is text.
    extra = [name for name in ("token_type_ids", "mm_token_type_ids") if name in parameters]
    return batch | {name: torch.zeros_like(ids) for name in extra}


def sub_configs(config: PretrainedConfig) -> list[PretrainedConfig]:
    found = [value for value in vars(config).values() if isinstance(value, PretrainedConfig)]
    return [config, *(nested for value in found for nested in sub_configs(value))]


@pytest.mark.parametrize("model_type", INSTALLED)
def test_named_types_train_and_drop_nothing_out(model_type: str) -> None:
    model = tiny_model(model_type, VOCAB_SIZE, seed=0).train()
    assert sum(parameter.numel() for parameter in model.parameters()) < 1_000_000
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    for config in sub_configs(model.config):
        rates = {name: rate for name, rate in vars(config).items() if "drop" in name and isinstance(rate, float)}
        assert not any(rates.values()), rates

    batch = padded_batch(model)
    loss = model(**batch).loss
    with torch.no_grad():
        assert torch.equal(model(**batch).loss, loss)
    loss.backward()

    # XLNet's own attention sees the token that it is to name, and tied weights find it: a little below chance.
    assert loss.item() == pytest.approx(math.log(VOCAB_SIZE), rel=0.3)
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
    assert any(gradient.abs().sum() > 0 for gradient in gradients)


CLASSES = {
    "gemma3": "Gemma3ForConditionalGeneration",
    "gemma3_text": "Gemma3ForCausalLM",
    "glm4v": "Glm4vForConditionalGeneration",
    "xlnet": "XLNetLMHeadModel",
}


@pytest.mark.parametrize("model_type", [model_type for model_type in CLASSES if model_type in INSTALLED])
def test_class_is_the_one_that_users_train(model_type: str) -> None:
    assert type(tiny_model(model_type, VOCAB_SIZE, seed=0)).__name__ == CLASSES[model_type]


def test_dense_and_expert_layers_stay() -> None:
    config = shrink(CONFIG_MAPPING["qwen2_moe"](decoder_sparse_step=2), VOCAB_SIZE)
    layers = build_model(config, seed=0).model.layers
    assert [any("experts" in name for name, _ in layer.named_parameters()) for layer in layers] == [False, True]


def test_local_and_global_layers_stay() -> None:
    assert set(tiny_config("gpt_neo", VOCAB_SIZE).attention_layers) == {"global", "local"}


class Layered(PretrainedConfig):
    model_type = "layered"

    def __init__(self, num_hidden_layers: int = 6, kv_source_layers: tuple[int, ...] = (), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_hidden_layers = num_hidden_layers
        self.kv_source_layers = list(kv_source_layers)
        self.first_k_dense_replace = kwargs.get("first_k_dense_replace", 3)


def test_indexes_of_the_layers_that_stay_are_not_clipped() -> None:
    small = shrink(Layered(kv_source_layers=tuple(range(6))), VOCAB_SIZE)
    assert small.kv_source_layers == list(range(small.num_hidden_layers)) == [0, 1, 2, 3]


def test_seed_decides_the_weights() -> None:
    first, same, other = (tiny_model("llama", VOCAB_SIZE, seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_shrink_leaves_its_input_and_keeps_what_is_no_size() -> None:
    config = CONFIG_MAPPING["llama"](hidden_size=512, tie_word_embeddings=True, rms_norm_eps=0.1, attention_dropout=0.5)
    small = shrink(config, VOCAB_SIZE)
    assert (config.hidden_size, config.attention_dropout) == (512, 0.5)
    assert (small.hidden_size, small.num_hidden_layers, small.vocab_size) == (64, 2, VOCAB_SIZE)
    assert (small.pad_token_id, small.eos_token_id, small.bos_token_id) == (0, 1, 2)
    assert (small.tie_word_embeddings, small.rms_norm_eps, small.attention_dropout) == (True, 0.1, 0.0)


def test_config_may_be_changed_before_building() -> None:
    config = tiny_config("llama", VOCAB_SIZE)
    config.num_hidden_layers = 1
    assert len(build_model(config, seed=0).model.layers) == 1


def test_unknown_type_names_the_nearest() -> None:
    with pytest.raises(ModelError) as raised:
        tiny_config("lama", VOCAB_SIZE)
    assert "lama" in raised.value.what
    assert "llama" in raised.value.fix


def test_type_without_a_language_model_is_refused() -> None:
    with pytest.raises(ModelError, match="vit"):
        tiny_model("vit", VOCAB_SIZE, seed=0)


def test_the_last_stage_of_a_codec_is_as_wide_as_all_else() -> None:
    tiny = shrink(CONFIG_MAPPING["dac"](), 300)
    assert (tiny.encoder_hidden_size, tiny.hidden_size) == (4, 64)


class Bound(PretrainedConfig):
    """One whose part has to be as wide as a share of the whole."""

    model_type = "bound"

    def __init__(self, hidden_size: int = 512, part: dict[str, int] | None = None, **kwargs: Any) -> None:
        self.hidden_size, self.part = hidden_size, part or {"intermediate_size": 128}
        width = self.part["intermediate_size"]
        if width != hidden_size // 4:
            raise ValueError(f"`part.intermediate_size` ({width}) must equal `hidden_size // 4` ({hidden_size // 4}).")
        super().__init__(**kwargs)


def test_what_has_to_be_equal_is_made_so() -> None:
    tiny = shrink(Bound(), 300)
    assert (tiny.hidden_size, tiny.part) == (64, {"intermediate_size": 16})
