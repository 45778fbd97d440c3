"""Heads beyond the causal language model: tiny, with rows of their own, and what a bare Trainer makes of them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from torch.nn.functional import pad
from transformers import Trainer, TrainingArguments

from tests.known.quiet import QUIET

VOCABULARY, CLASSES, CHOICES = 40, 3, 3
NUM_ROWS, K, RATE = 16, 4, 0.5

Row = dict[str, torch.Tensor]


def draw() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def tokens(generator: torch.Generator, *leading: int) -> torch.Tensor:
    length = int(torch.randint(5, 17, (), generator=generator))
    return torch.randint(4, VOCABULARY, (*leading, length), generator=generator)


def rows(make: Callable[[torch.Generator, int], Row]) -> list[Row]:
    generator = draw()
    return [make(generator, number) for number in range(NUM_ROWS)]


def text(labels: Callable[[torch.Generator, int, torch.Tensor], torch.Tensor], *leading: int) -> list[Row]:
    def make(generator: torch.Generator, number: int) -> Row:
        ids = tokens(generator, *leading)
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels(generator, number, ids)}

    return rows(make)


def one_class(generator: torch.Generator, number: int, ids: torch.Tensor) -> torch.Tensor:
    return torch.tensor(number % CLASSES)


def several(generator: torch.Generator, number: int, ids: torch.Tensor) -> torch.Tensor:
    return torch.randint(0, 2, (CLASSES,), generator=generator).float()


def value(generator: torch.Generator, number: int, ids: torch.Tensor) -> torch.Tensor:
    return torch.randn((), generator=generator)


def each_token(generator: torch.Generator, number: int, ids: torch.Tensor) -> torch.Tensor:
    return torch.randint(0, CLASSES, ids.shape, generator=generator)


def masked(generator: torch.Generator, number: int, ids: torch.Tensor) -> torch.Tensor:
    chosen = torch.rand(ids.shape, generator=generator) < 0.4
    chosen[0] = True
    return ids.where(chosen, -100)


def other_text(generator: torch.Generator, number: int, ids: torch.Tensor) -> torch.Tensor:
    return tokens(generator)


def answers() -> list[Row]:
    def make(generator: torch.Generator, number: int) -> Row:
        ids = tokens(generator)
        first = torch.randint(0, len(ids), (), generator=generator)
        mask = torch.ones_like(ids)
        return {"input_ids": ids, "attention_mask": mask, "start_positions": first, "end_positions": first}

    return rows(make)


def images(size: int) -> list[Row]:
    return rows(
        lambda generator, number: {
            "pixel_values": torch.randn(3, size, size, generator=generator),
            "labels": torch.tensor(number % CLASSES),
        }
    )


def speech() -> list[Row]:
    return rows(
        lambda generator, number: {
            "input_features": torch.randn(8, 20, generator=generator),
            "labels": tokens(generator),
        }
    )


def sounds() -> list[Row]:
    return rows(
        lambda generator, number: {
            "input_values": torch.randn(2000, generator=generator),
            "labels": torch.randint(4, VOCABULARY, (2 + number % 3,), generator=generator),
        }
    )


def collate(batch: Sequence[Row]) -> Row:
    return {name: _stack(name, [row[name] for row in batch]) for name in batch[0]}


def _stack(name: str, values: Sequence[torch.Tensor]) -> torch.Tensor:
    if not values[0].dim():
        return torch.stack(list(values))
    longest = max(each.shape[-1] for each in values)
    fill = -100 if name == "labels" else 0
    return torch.stack([pad(each, (0, longest - each.shape[-1]), value=fill) for each in values])


SMALL = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "pad_token_id": 0,
}


def built(class_name: str, **fields: Any) -> Any:
    model_class = getattr(transformers, class_name)
    torch.manual_seed(0)
    model = model_class(model_class.config_class(**fields))
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return model


@dataclass(frozen=True)
class Head:
    """A class, and the rows that it is trained on.

    Attributes:
        fields: Of its config.
        rows: Makes them, the same every time.
        depends: A row's loss depends on the rows beside it, on padding for one: no grouping is exact.
    """

    class_name: str
    fields: dict[str, Any]
    rows: Callable[[], list[Row]]
    depends: bool = False

    def model(self) -> Any:
        """Return it with the same weights every time; without dropout, also where its config would say so."""
        return built(self.class_name, **self.fields)

    def trainer(self, k: int, model: Any | None = None, num_steps: int = 1) -> Trainer:
        """Make a bare Trainer whose effective batch is all rows."""
        arguments = TrainingArguments(
            tempfile.mkdtemp(),
            per_device_train_batch_size=NUM_ROWS // k,
            gradient_accumulation_steps=k,
            max_steps=num_steps,
            optim="sgd",
            learning_rate=RATE,
            lr_scheduler_type="constant",
            max_grad_norm=0.0,
            logging_steps=1,
            **QUIET,
        )
        return Trainer(model or self.model(), arguments, train_dataset=self.rows(), data_collator=collate)


@dataclass(frozen=True)
class Step:
    """A bare Trainer's first step: what it logged, and the gradient that its weights moved along."""

    loss: float
    gradient: torch.Tensor


def bare_step(head: Head, k: int) -> Step:
    trainer = head.trainer(k)
    before = torch.cat([p.detach().flatten().double() for p in trainer.model.parameters()])
    trainer.train()
    after = torch.cat([p.detach().flatten().double() for p in trainer.model.parameters()])
    loss = next(entry["loss"] for entry in trainer.state.log_history if "loss" in entry)
    return Step(float(loss), (before - after) / RATE)


NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
BERT = {**SMALL, **NO_DROPOUT}
SORTING = {"num_labels": CLASSES}
T5 = {
    "vocab_size": VOCABULARY, "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2,
    "dropout_rate": 0.0, "decoder_start_token_id": 0, "pad_token_id": 0,
}  # fmt: skip
BART = {
    "vocab_size": VOCABULARY, "d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "dropout": 0.0, "pad_token_id": 0,
    "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 2, "max_position_embeddings": 64,
    "forced_eos_token_id": 2,
}  # fmt: skip
WHISPER = {
    **BART, "num_mel_bins": 8, "max_source_positions": 10, "max_target_positions": 32, "suppress_tokens": None,
    "begin_suppress_tokens": None,
}  # fmt: skip
WAV2VEC2 = {
    **SMALL, "hidden_dropout": 0.0, "attention_dropout": 0.0, "feat_proj_dropout": 0.0, "final_dropout": 0.0,
    "layerdrop": 0.0, "apply_spec_augment": False, "conv_dim": (16, 16), "conv_kernel": (10, 3), "conv_stride": (5, 2),
    "num_feat_extract_layers": 2, "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2,
    "ctc_loss_reduction": "mean",
}  # fmt: skip
VIT = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "image_size": 16,
    "patch_size": 8, **SORTING, **NO_DROPOUT,
}  # fmt: skip
RESNET = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic", **SORTING}
LLAMA = {**SMALL, "num_key_value_heads": 2}
GPT2 = {
    "vocab_size": VOCABULARY, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64, "pad_token_id": 0,
    "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0,
}  # fmt: skip
MODERN = {**SMALL, "reference_compile": False, "attn_implementation": "eager", "max_position_embeddings": 64}

_ALL = (
    Head("BertForSequenceClassification", {**BERT, **SORTING}, lambda: text(one_class)),
    Head(
        "BertForSequenceClassification",
        {**BERT, **SORTING, "problem_type": "multi_label_classification"},
        lambda: text(several),
    ),
    Head("BertForSequenceClassification", {**BERT, "num_labels": 1, "problem_type": "regression"}, lambda: text(value)),
    Head("LlamaForSequenceClassification", {**LLAMA, **SORTING}, lambda: text(one_class)),
    Head("GPT2ForSequenceClassification", {**GPT2, **SORTING}, lambda: text(one_class)),
    Head("BertForMultipleChoice", BERT, lambda: text(one_class, CHOICES)),
    Head("BertForTokenClassification", {**BERT, **SORTING}, lambda: text(each_token)),
    Head("LlamaForTokenClassification", {**LLAMA, **SORTING}, lambda: text(each_token)),
    Head("BertForMaskedLM", BERT, lambda: text(masked)),
    Head("ModernBertForMaskedLM", MODERN, lambda: text(masked)),
    Head("T5ForConditionalGeneration", T5, lambda: text(other_text)),
    Head("BartForConditionalGeneration", BART, lambda: text(other_text)),
    Head("WhisperForConditionalGeneration", WHISPER, speech),
    Head("Wav2Vec2ForCTC", WAV2VEC2, sounds),
    Head("ViTForImageClassification", VIT, lambda: images(16)),
    Head("ResNetForImageClassification", RESNET, lambda: images(32), depends=True),
    Head("BertForQuestionAnswering", BERT, answers, depends=True),
    Head("LlamaForQuestionAnswering", LLAMA, answers, depends=True),
)

HEADS = tuple(head for head in _ALL if hasattr(transformers, head.class_name))
"""Those that the installed release has."""
