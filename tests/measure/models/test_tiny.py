"""`--tiny`: a stand-in of a model's own config: its class, its layers, its switches; no weights are read."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import CONFIG_MAPPING

from gacheck.config import make_experiment
from gacheck.errors import ConfigError
from gacheck.measure.models.source import open_model
from tests.measure.modelling import small_config, tiny_model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model of two dense layers and ten with experts, whose weights cannot be read."""
    config = CONFIG_MAPPING["qwen2_moe"](
        num_hidden_layers=12, mlp_only_layers=[0, 7], output_router_logits=True, tie_word_embeddings=True, num_experts=8
    )
    config.architectures = ["Qwen2MoeForCausalLM"]
    config.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"no weights")
    return tmp_path


def test_a_folder_is_made_tiny_by_its_own_config(folder: Path) -> None:
    source = open_model(small_config(str(folder), tiny=True))
    model, facts = source.load_model()

    assert (facts.class_name, facts.stand_in, facts.name) == ("Qwen2MoeForCausalLM", True, str(folder))
    assert facts.num_parameters < 1_000_000
    assert model.config.output_router_logits
    assert model.config.tie_word_embeddings
    experts = [any("experts" in name for name, _ in layer.named_parameters()) for layer in model.model.layers]
    assert sorted(experts) == [False, False, True, True]
    assert len(source.load_tokenizer()) == model.config.vocab_size == 300


def test_the_class_that_was_saved_is_built(tmp_path: Path) -> None:
    config = CONFIG_MAPPING["bert"](num_hidden_layers=12)
    config.architectures = ["BertForMaskedLM"]
    config.save_pretrained(tmp_path)
    source = open_model(small_config(str(tmp_path), tiny=True))
    assert source.task == "masked-lm"
    assert source.load_model()[1].class_name == "BertForMaskedLM"


def test_an_adapter_is_put_on_a_tiny_base(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    base = tiny_model()
    base.save_pretrained(tmp_path / "base")
    adapted = peft.get_peft_model(base, peft.LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=["q_proj"]))
    adapted.peft_config["default"].base_model_name_or_path = str(tmp_path / "base")
    adapted.save_pretrained(tmp_path / "adapter")
    facts = open_model(small_config(str(tmp_path / "adapter"), tiny=True)).load_model()[1]
    assert (facts.class_name, facts.adapter) == ("LlamaForCausalLM", "PeftModelForCausalLM")


def test_what_is_tiny_already_is_not_made_tiny() -> None:
    with pytest.raises(ConfigError, match="is tiny already"):
        make_experiment(model="tiny:llama", tiny=True)
