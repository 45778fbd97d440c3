"""Tiny models, of the same weights every time."""

from __future__ import annotations

from typing import Any

import torch
import transformers
from transformers import LlamaConfig, LlamaForCausalLM

from gacheck.measure.models.stand_in import tiny_config
from tests.known.rows import MEMORY, VOCABULARY
from tests.trials import models

CERTAINTY = 14.0


def _llama_config(width: int = 64, vocabulary: int = VOCABULARY) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=128,
        bos_token_id=None,
        eos_token_id=None,
    )


def llama(model_class: Any = LlamaForCausalLM) -> Any:
    """Make the plain Llama, or a class on its config."""
    torch.manual_seed(0)
    return model_class(_llama_config())


def llama_with_flag_off() -> Any:
    """Let it declare that it takes no count."""
    model = llama()
    model.accepts_loss_kwargs = False
    return model


def llama_in_float64() -> Any:
    """Make it of doubles."""
    return llama().double()


def llama_by_heart() -> Any:
    """Let it know that every token is followed by the next higher one."""
    torch.manual_seed(0)
    model = LlamaForCausalLM(_llama_config(MEMORY, MEMORY))
    models.learn_by_heart(model, CERTAINTY)
    return model


def llama_that_sees() -> Any:
    """Put an image before its rows."""
    return llama(models.SeesForCausalLM)


def warming_up() -> Any:
    """Count forwards, and warm a coefficient up with them."""
    return llama(models.WarmsUpForCausalLM)


def of_type(model_type: str, class_name: str, **config: Any) -> Any:
    """Make a tiny model of a class of transformers."""
    made = tiny_config(model_type, VOCABULARY)
    for name, value in config.items():
        setattr(made, name, value)
    torch.manual_seed(0)
    return getattr(transformers, class_name)(made)


def mistral3() -> Any:
    """Make an image-text class that is not in the Trainer's list of causal language models."""
    return of_type("mistral3", "Mistral3ForConditionalGeneration")


def with_a_hook(factor: float) -> Any:
    """Let a hook scale the gradient of its head."""
    model = llama()
    model.lm_head.weight.register_hook(lambda gradient: gradient * factor)
    return model


def under_lora() -> Any:
    """Put adapters into it, both of whose matrices have a gradient."""
    from peft import LoraConfig, get_peft_model

    model = llama()
    torch.manual_seed(1)
    config = LoraConfig(
        r=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM", init_lora_weights=False, lora_dropout=0.0
    )
    return get_peft_model(model, config)


def prompt_tuned() -> Any:
    """Put virtual tokens before its rows."""
    from peft import PromptTuningConfig, TaskType, get_peft_model

    model = llama()
    torch.manual_seed(1)
    return get_peft_model(model, PromptTuningConfig(task_type=TaskType.CAUSAL_LM, num_virtual_tokens=3))
