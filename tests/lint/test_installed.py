"""The installed transformers: what is read of classes is what they do when they are called with two counts."""

from __future__ import annotations

import time
from typing import Any

import pytest
import torch
import transformers

from gacheck.lint.finding import Finding
from gacheck.lint.lint import lint

SIZES: dict[str, Any] = {"vocab_size": 32, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
SIZES |= {"num_attention_heads": 2, "num_key_value_heads": 2}
CLASSES: dict[str, tuple[str, dict[str, Any]]] = {
    "LlamaForCausalLM": ("LlamaConfig", SIZES),
    "LlamaForSequenceClassification": ("LlamaConfig", {**SIZES, "pad_token_id": 0, "num_labels": 3}),
    "MixtralForCausalLM": ("MixtralConfig", {**SIZES, "num_local_experts": 2, "output_router_logits": True}),
    "GPT2LMHeadModel": ("GPT2Config", {"vocab_size": 32, "n_embd": 16, "n_layer": 1, "n_head": 2}),
    "BertForMaskedLM": ("BertConfig", SIZES),
    "BertForTokenClassification": ("BertConfig", {**SIZES, "num_labels": 3}),
    "T5ForConditionalGeneration": (
        "T5Config",
        {
            "vocab_size": 32,
            "d_model": 16,
            "d_ff": 16,
            "d_kv": 8,
            "num_layers": 1,
            "num_heads": 2,
            "decoder_start_token_id": 0,
        },
    ),
    "OPTForCausalLM": (
        "OPTConfig",
        {**SIZES, "ffn_dim": 16, "word_embed_proj_dim": 16, "max_position_embeddings": 16},
    ),
}
FINDINGS: dict[str, Finding] = {each.class_name: each for each in lint(list(CLASSES)).findings}


def uses_count(name: str) -> bool:
    config_name, sizes = CLASSES[name]
    torch.manual_seed(0)
    model = getattr(transformers, name)(getattr(transformers, config_name)(**sizes)).eval()
    inputs = torch.randint(3, 32, (2, 6))
    labels = inputs % 3 if "Classification" in name else inputs.clone()
    labels = labels[:, 0] if "Sequence" in name else labels
    losses = [float(model(input_ids=inputs, labels=labels, num_items_in_batch=n).loss) for n in (10, 20)]
    return losses[0] != losses[1]


@pytest.mark.parametrize("name", CLASSES)
def test_what_is_read_is_what_is_done(name: str) -> None:
    finding = FINDINGS[name]

    if not finding.takes_kwargs:
        pytest.skip("this release's forward takes no count")
    assert finding.answer == ("reaches" if uses_count(name) else "dropped")


def test_one_class_is_read_quickly() -> None:
    started = time.process_time()
    lint(["LlamaForCausalLM"])

    assert time.process_time() - started < 3
