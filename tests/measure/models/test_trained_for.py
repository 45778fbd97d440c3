"""What a class of one's own is trained for: what the class of transformers is that it derives from."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers
from transformers import BertConfig, BertForTokenClassification, LlamaConfig, LlamaForCausalLM, T5Config

import gacheck
from gacheck.measure.models.building import trained_for


class OwnTokens(BertForTokenClassification):  # type: ignore[misc]
    """A head of one's own."""


class OwnText(LlamaForCausalLM):  # type: ignore[misc]
    """A language model of one's own."""


@pytest.mark.parametrize(
    ("model_class", "config", "task"),
    [
        (BertForTokenClassification, BertConfig, "token-classification"),
        (OwnTokens, BertConfig, "token-classification"),
        (OwnText, LlamaConfig, "causal-lm"),
        (transformers.T5ForConditionalGeneration, T5Config, "seq2seq-lm"),
        (torch.nn.Linear, LlamaConfig, "causal-lm"),
        (lambda config: None, LlamaConfig, "causal-lm"),
    ],
)
def test_the_class_that_it_derives_from_says_the_task(model_class: Any, config: Any, task: str) -> None:
    assert trained_for(model_class, config()) == task


def test_a_head_of_ones_own_is_checked_on_rows_of_that_head() -> None:
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    torch.manual_seed(0)
    model = OwnTokens(BertConfig(**sizes, vocab_size=40, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0))

    assert gacheck.check(model).verdict.code in ("SCALED_BY_ACCUMULATION", "MEAN_OF_MEANS")
