"""A Draw → a Trainer: the same model, data and Trainer every time that it is built."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from random import Random
from typing import Any

import torch
from transformers import (
    BartConfig,
    BartForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
    Trainer,
    TrainingArguments,
    XLNetConfig,
    XLNetLMHeadModel,
)

from tests.trials import models
from tests.trials.batches import DATA
from tests.trials.draw import Draw
from tests.trials.head_rows import HEAD_DATA
from tests.trials.heads import HEADS

LONGEST_ROW = 128
MEMORY_WIDTH = 64
CERTAINTY = 14.0
DTYPES = {
    "float32": torch.float32,
    "bfloat16 autocast": torch.float32,
    "bfloat16 weights": torch.bfloat16,
    "float64 weights": torch.float64,
}


@dataclass
class Build:
    """What a Trainer is made of. An objective fills it in, a fault changes it.

    Attributes:
        draw: What is built.
        model_class: Of the model.
        trainer_class: Of the Trainer.
        arguments: For TrainingArguments.
        loss_func: The Trainer's `compute_loss_func`.
        callbacks: Of the Trainer.
        on_model: What is done to the model before the Trainer is made.
        on_trainer: What is done to the Trainer once it is made.
        paired: The rows are pairs.
        arrange: Makes what collates of the data's own collator.
    """

    draw: Draw
    model_class: Any = None
    trainer_class: Any = Trainer
    arguments: dict[str, Any] = field(default_factory=dict)
    loss_func: Callable[..., Any] | None = None
    callbacks: list[Any] = field(default_factory=list)
    on_model: list[Callable[[Any], object]] = field(default_factory=list)
    on_trainer: list[Callable[[Any], object]] = field(default_factory=list)
    paired: bool = False
    arrange: Callable[[Any], Any] | None = None

    def mix_trainer(self, mixin: type) -> None:
        """Put a class before that of the Trainer."""
        self.trainer_class = type(mixin.__name__, (mixin, self.trainer_class), {"__module__": mixin.__module__})

    def mix_model(self, mixin: type) -> None:
        """Put a class before that of the model, which keeps what transformers reads in its name."""
        name = f"{mixin.__name__}{self.model_class.__name__}"
        self.model_class = type(name, (mixin, self.model_class), {"__module__": mixin.__module__})

    @property
    def goes_by_name(self) -> bool:
        """Whether it can be given to `gacheck run`: as classes, a function and options."""
        by_hand = self.on_model or self.on_trainer or self.callbacks or self.arrange
        return not by_hand and self.arguments.keys() <= {"label_smoothing_factor"}

    @property
    def is_all_in_the_model(self) -> bool:
        """Whether the model alone is that training."""
        of_trainer = self.on_trainer or self.callbacks or self.arrange or self.arguments or self.loss_func
        return self.trainer_class is Trainer and not of_trainer


def make_model(build: Build) -> Any:
    """Make the model: same draw, same weights."""
    draw = build.draw
    torch.manual_seed(draw.seed)
    model = BODIES[draw.body](build)
    if draw.data == "known by heart":
        models.learn_by_heart(model, CERTAINTY)
    model = model.to(DTYPES[draw.precision])
    for change in build.on_model:
        change(model)
    return model


def make_trainer(build: Build, model: Any = None) -> Trainer:
    """Make the Trainer, untrained."""
    draw = build.draw
    data = {**DATA, **HEAD_DATA}[draw.data]
    random = Random(draw.seed)
    drawn = (data.pairs if build.paired else data.rows)(random, draw.vocabulary, draw.num_rows)
    rows = [{name: _cast(value, DTYPES[draw.precision]) for name, value in row.items()} for row in drawn]
    arguments: dict[str, Any] = {
        "output_dir": folder(),
        "per_device_train_batch_size": draw.rows,
        "gradient_accumulation_steps": draw.k,
        "max_steps": 2,
        "learning_rate": draw.learning_rate,
        "max_grad_norm": draw.max_grad_norm,
        "lr_scheduler_type": "constant",
        "optim": draw.optim,
        "average_tokens_across_devices": draw.average_tokens_across_devices,
        "seed": draw.seed % 2**32,
        "bf16": draw.precision == "bfloat16 autocast",
        "use_cpu": True,
        "report_to": "none",
        "disable_tqdm": True,
        "logging_strategy": "no",
        "save_strategy": "no",
        "remove_unused_columns": False,
        "dataloader_pin_memory": False,
    }
    trainer = build.trainer_class(
        model=make_model(build) if model is None else model,
        args=TrainingArguments(**{**arguments, **build.arguments}),
        train_dataset=rows,
        data_collator=data.collator if build.arrange is None else build.arrange(data.collator),
        compute_loss_func=build.loss_func,
        callbacks=list(build.callbacks),
    )
    for change in build.on_trainer:
        change(trainer)
    return trainer


def _cast(value: Any, dtype: torch.dtype) -> Any:
    """Give numbers that a model calculates with the dtype of its weights."""
    return value.to(dtype) if torch.is_tensor(value) and value.is_floating_point() else value


@cache
def folder() -> str:
    """Return the folder of this process; nothing is saved there, and it goes with the process."""
    made = tempfile.mkdtemp(prefix="trials-")
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made


def llama_config(draw: Draw, **more: Any) -> LlamaConfig:
    """Draw the config of a tiny Llama."""
    width = MEMORY_WIDTH if draw.data == "known by heart" else draw.width
    return LlamaConfig(
        vocab_size=draw.vocabulary,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=draw.layers,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=LONGEST_ROW,
        initializer_range=draw.spread,
        bos_token_id=None,
        eos_token_id=None,
        **more,
    )


def _llama(build: Build, **config: Any) -> Any:
    return build.model_class(llama_config(build.draw, **config))


def _gpt2(build: Build, dropout: float = 0.0) -> Any:
    draw = build.draw
    config = GPT2Config(
        vocab_size=draw.vocabulary,
        n_embd=draw.width,
        n_layer=draw.layers,
        n_head=2,
        n_positions=LONGEST_ROW,
        resid_pdrop=dropout,
        embd_pdrop=dropout,
        attn_pdrop=dropout,
        initializer_range=draw.spread,
        bos_token_id=None,
        eos_token_id=None,
    )
    model = build.model_class(config)
    # What the class name does not say: the Trainer counts before the shift without it.
    model.loss_type = "ForCausalLM"
    return model


def _recurrent(build: Build) -> Any:
    return build.model_class(build.draw.vocabulary, build.draw.width)


def _frozen(build: Build) -> Any:
    model = _llama(build)
    model.model.embed_tokens.requires_grad_(False)
    model.model.layers[0].mlp.requires_grad_(False)
    return model


def _lora(build: Build) -> Any:
    from peft import LoraConfig, get_peft_model

    targets = ["q_proj", "v_proj", "down_proj"]
    # Both of its matrices are drawn, so that both have a gradient.
    return get_peft_model(
        _llama(build), LoraConfig(r=4, target_modules=targets, task_type="CAUSAL_LM", init_lora_weights=False)
    )


def _checkpointing(build: Build) -> Any:
    model = _llama(build)
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return model


OTHERS: dict[str, Any] = {
    "Qwen2": Qwen2ForCausalLM,
    "Gemma3": Gemma3ForCausalLM,
    "Mixtral": MixtralForCausalLM,
    "Bart": BartForCausalLM,
    "XLNet": XLNetLMHeadModel,
    "T5": T5ForConditionalGeneration,
}


def _common(draw: Draw) -> dict[str, Any]:
    return {
        "vocab_size": draw.vocabulary,
        "hidden_size": draw.width,
        "intermediate_size": 2 * draw.width,
        "num_hidden_layers": draw.layers,
        "num_attention_heads": 2,
        "initializer_range": draw.spread,
    }


def _config_of(name: str, draw: Draw) -> Any:
    """Draw the config of another class of transformers, without dropout."""
    common, short = _common(draw), {"d_model": draw.width, "vocab_size": draw.vocabulary}
    grouped = {"num_key_value_heads": 1, "bos_token_id": None, "eos_token_id": None}
    if name == "Qwen2":
        return Qwen2Config(**common, **grouped)
    if name == "Gemma3":
        # Its scores are soft-capped by nothing here; its head is its embedding.
        return Gemma3TextConfig(**common, **grouped, head_dim=8, pad_token_id=0)
    if name == "Mixtral":
        return MixtralConfig(**common, **grouped, num_local_experts=4, output_router_logits=True)
    if name == "Bart":
        sizes = {"decoder_layers": draw.layers, "decoder_attention_heads": 2, "decoder_ffn_dim": 2 * draw.width}
        return BartConfig(
            **short,
            **sizes,
            is_decoder=True,
            is_encoder_decoder=False,
            dropout=0.0,
            init_std=draw.spread,
            max_position_embeddings=LONGEST_ROW,
        )
    if name == "XLNet":
        return XLNetConfig(**short, n_layer=draw.layers, n_head=2, d_inner=2 * draw.width, dropout=0.0)
    return T5Config(
        **short,
        d_kv=8,
        d_ff=2 * draw.width,
        num_layers=draw.layers,
        num_heads=2,
        dropout_rate=0.0,
        decoder_start_token_id=0,
    )


def _other(build: Build) -> Any:
    return build.model_class(_config_of(build.draw.body, build.draw))


def _head(build: Build) -> Any:
    return HEADS[build.draw.body].model(build.draw, build.model_class)


BODIES: dict[str, Callable[[Build], Any]] = {
    "Llama": _llama,
    "Llama, tied embeddings": lambda build: _llama(build, tie_word_embeddings=True),
    "Llama, attention dropout": lambda build: _llama(build, attention_dropout=0.2),
    "Llama, parts frozen": _frozen,
    "Llama, gradient checkpointing": _checkpointing,
    "Llama under LoRA": _lora,
    "GPT-2": _gpt2,
    "GPT-2, dropout": lambda build: _gpt2(build, dropout=0.1),
    "class of one's own": _llama,
    "recurrent network": _recurrent,
    **dict.fromkeys(OTHERS, _other),
    **dict.fromkeys(HEADS, _head),
}
"""What makes the model, by name."""

CLASSES: dict[str, Any] = {
    **{name: GPT2LMHeadModel if name.startswith("GPT-2") else LlamaForCausalLM for name in BODIES},
    **OTHERS,
    **{name: head.model_class for name, head in HEADS.items()},
    "class of one's own": models.OwnForCausalLM,
    "recurrent network": models.Recurrent,
}
"""Of what class each body is."""
