"""Heads of transformers': what each is made of, which rows it takes, and its loss in plain torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
import transformers
from torch.nn.functional import ctc_loss, log_softmax, logsigmoid

from tests.trials import head_rows
from tests.trials.draw import Draw
from tests.trials.head_rows import CLASSES, IMAGE, MASKED_OF_A_ROW, MEL_BINS, START

Batch = dict[str, Any]
LONGEST = 64
BYTES = 300
"""Tokens of a vocabulary in which the rows that are made up for a head leave special ones free."""


def picked(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return −log p of every label; of those without target it means nothing."""
    nats: torch.Tensor = -log_softmax(logits, -1).gather(-1, labels.clamp(min=0)[..., None])[..., 0]
    return nats


def _classes(outputs: Any, batch: Batch) -> torch.Tensor:
    return picked(outputs["logits"].double(), batch["labels"]).sum()


def _several(outputs: Any, batch: Batch) -> torch.Tensor:
    logits, labels = outputs["logits"].double(), batch["labels"].double()
    nats: torch.Tensor = -(labels * logsigmoid(logits) + (1 - labels) * logsigmoid(-logits))
    return nats.mean(1).sum()


def _numbers(outputs: Any, batch: Batch) -> torch.Tensor:
    errors: torch.Tensor = outputs["logits"].double()[:, 0] - batch["labels"].double()
    return errors.square().sum()


def _targets(outputs: Any, batch: Batch, logits: str = "logits") -> torch.Tensor:
    labels = batch["labels"]
    return torch.where(labels != -100, picked(outputs[logits].double(), labels), 0.0).sum()


def _answers(outputs: Any, batch: Batch) -> torch.Tensor:
    starts = picked(outputs["start_logits"].double(), batch["start_positions"])
    return (starts + picked(outputs["end_logits"].double(), batch["end_positions"])).sum() / 2


def _pretraining(outputs: Any, batch: Batch) -> torch.Tensor:
    follow = picked(outputs["seq_relationship_logits"].double(), batch["next_sentence_label"]).sum()
    return _targets(outputs, batch, "prediction_logits") / MASKED_OF_A_ROW + follow


def _heard(outputs: Any, batch: Batch) -> torch.Tensor:
    """Of each row −log of the chance of all ways to hear it; no frame is padded.

    In float32, as the class does it: over so many frames its rounding is felt.
    """
    chances = log_softmax(outputs["logits"].float(), -1).transpose(0, 1)
    frames = torch.full((chances.shape[1],), chances.shape[0])
    lengths = (batch["labels"] >= 0).sum(-1)
    return ctc_loss(chances, batch["labels"].clamp(min=0), frames, lengths, blank=0, reduction="none")


def _heard_per_token(outputs: Any, batch: Batch) -> torch.Tensor:
    means: torch.Tensor = _heard(outputs, batch) / (batch["labels"] >= 0).sum(-1)
    return means.sum()


@dataclass(frozen=True)
class Head:
    """A class of transformers.

    Attributes:
        name: For the tables: the class, and what else its config says.
        fields: Of its config, as it is drawn.
        data: The rows that it takes.
        total: Its loss, summed over what it is a mean over.
        unit: What it is a mean over; `step` if it is a sum, which a step has one of.
        counts: Its loss takes the Trainer's count, in the newest release.
        labelled: Its inputs have labels, which the Trainer counts.
        made_up: A mean of this unit is right on the rows that gacheck makes up as well.
    """

    name: str
    fields: Callable[[Draw], dict[str, Any]]
    data: tuple[str, ...]
    total: Callable[[Any, Batch], torch.Tensor]
    unit: Literal["rows", "targets", "step"] = "rows"
    counts: bool = False
    labelled: bool = True
    made_up: bool = True

    @property
    def model_class(self) -> Any:
        """The class."""
        return getattr(transformers, self.name.split(",")[0])

    def model(self, draw: Draw, model_class: Any) -> Any:
        """Make it, or what was made of its class."""
        return model_class(self.model_class.config_class(**self.fields(draw)))

    def number(self, batch: Batch) -> int:
        """Count what `total` is summed over."""
        if self.unit == "targets":
            return int((batch["labels"] != -100).sum())
        return len(next(iter(batch.values())))


def _text(draw: Draw, **more: Any) -> dict[str, Any]:
    return {
        "vocab_size": draw.vocabulary,
        "hidden_size": draw.width,
        "intermediate_size": 2 * draw.width,
        "num_hidden_layers": draw.layers,
        "num_attention_heads": 2,
        "initializer_range": draw.spread,
        "pad_token_id": 0,
        "max_position_embeddings": LONGEST,
        **more,
    }


def _bert(draw: Draw, **more: Any) -> dict[str, Any]:
    return _text(draw, **{"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, **more})


def _llama(draw: Draw, **more: Any) -> dict[str, Any]:
    return _text(draw, num_key_value_heads=1, bos_token_id=None, eos_token_id=None, **more)


def _gpt2(draw: Draw, **more: Any) -> dict[str, Any]:
    return {
        "vocab_size": draw.vocabulary,
        "n_embd": draw.width,
        "n_layer": draw.layers,
        "n_head": 2,
        "n_positions": LONGEST,
        "initializer_range": draw.spread,
        "pad_token_id": 0,
        "bos_token_id": None,
        "eos_token_id": None,
        **dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0),
        **more,
    }


def _modern(draw: Draw) -> dict[str, Any]:
    special = {f"{token}_token_id": number for number, token in enumerate(("pad", "bos", "eos", "cls", "sep"))}
    # Its initialisation has a range of its own.
    return {**_text(draw), **special, "initializer_range": 0.02}


def _t5(draw: Draw) -> dict[str, Any]:
    return {
        "vocab_size": draw.vocabulary,
        "d_model": draw.width,
        "d_kv": 8,
        "d_ff": 2 * draw.width,
        "num_layers": draw.layers,
        "num_heads": 2,
        "dropout_rate": 0.0,
        "pad_token_id": 0,
        "decoder_start_token_id": START,
    }


def _bart(draw: Draw, **more: Any) -> dict[str, Any]:
    sides = {
        f"{side}_{name}": value
        for side in ("encoder", "decoder")
        for name, value in (("layers", draw.layers), ("attention_heads", 2), ("ffn_dim", 2 * draw.width))
    }
    special = {f"{token}_token_id": number for number, token in enumerate(("pad", "bos", "eos"))}
    return {
        "vocab_size": draw.vocabulary,
        "d_model": draw.width,
        **sides,
        **special,
        "dropout": 0.0,
        "init_std": draw.spread,
        "decoder_start_token_id": START,
        "max_position_embeddings": LONGEST,
        **more,
    }


def _whisper(draw: Draw) -> dict[str, Any]:
    sizes = {"num_mel_bins": MEL_BINS, "max_source_positions": head_rows.FRAMES // 2, "max_target_positions": LONGEST}
    return _bart(draw, **sizes, suppress_tokens=None, begin_suppress_tokens=None)


def _wav2vec2(draw: Draw, reduction: str) -> dict[str, Any]:
    parts = ("hidden", "attention", "activation", "feat_proj", "final")
    dropout = (*(f"{part}_dropout" for part in parts), "layerdrop")
    return {
        **_text(draw, **dict.fromkeys(dropout, 0.0)),
        "apply_spec_augment": False,
        "conv_dim": (16, 16),
        "conv_kernel": (10, 3),
        "conv_stride": (5, 2),
        "num_feat_extract_layers": 2,
        "num_conv_pos_embeddings": 8,
        "num_conv_pos_embedding_groups": 2,
        "ctc_loss_reduction": reduction,
    }


def _vit(draw: Draw) -> dict[str, Any]:
    return {**_bert(draw), "image_size": IMAGE, "patch_size": 8, "num_labels": CLASSES}


def _resnet(draw: Draw) -> dict[str, Any]:
    sizes = {"embedding_size": 8, "hidden_sizes": [8, draw.width], "depths": [1, draw.layers]}
    return {**sizes, "layer_type": "basic", "num_labels": CLASSES}


SORTING = {"num_labels": CLASSES}
SEVERAL = {**SORTING, "problem_type": "multi_label_classification"}
ONE_NUMBER = {"num_labels": 1, "problem_type": "regression"}
DROPOUT = {"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1}
TO_TEXT = (head_rows.OTHER_TEXT, head_rows.DECODED)
TO_SPOKEN = (head_rows.SPEECH, head_rows.SPEECH_DECODED)

_ALL = (
    Head(
        "BertForSequenceClassification",
        lambda draw: _bert(draw, **SORTING),
        (head_rows.ONE_CLASS,),
        _classes,
    ),
    Head(
        "BertForSequenceClassification, several labels",
        lambda draw: _bert(draw, **SEVERAL),
        (head_rows.SEVERAL_CLASSES,),
        _several,
    ),
    Head(
        "BertForSequenceClassification, regression",
        lambda draw: _bert(draw, **ONE_NUMBER),
        (head_rows.NUMBER,),
        _numbers,
    ),
    Head(
        "LlamaForSequenceClassification, a reward",
        lambda draw: _llama(draw, **ONE_NUMBER),
        (head_rows.NUMBER,),
        _numbers,
    ),
    Head(
        "BertForSequenceClassification, dropout",
        lambda draw: _bert(draw, **SORTING, **DROPOUT),
        (head_rows.ONE_CLASS,),
        _classes,
        made_up=False,
    ),
    Head(
        "LlamaForSequenceClassification",
        lambda draw: _llama(draw, **SORTING),
        (head_rows.ONE_CLASS,),
        _classes,
    ),
    Head(
        "GPT2ForSequenceClassification",
        lambda draw: _gpt2(draw, **SORTING),
        (head_rows.ONE_CLASS,),
        _classes,
    ),
    Head("BertForMultipleChoice", _bert, (head_rows.CHOICE,), _classes),
    Head("BertForNextSentencePrediction", _bert, (head_rows.FOLLOWS,), _classes),
    # On rows with masked tokens in unequal numbers it is no mean over anything.
    Head("BertForPreTraining", _bert, (head_rows.MASKED_AND_FOLLOWS,), _pretraining, made_up=False),
    Head("ViTForImageClassification", _vit, (head_rows.IMAGES,), _classes, counts=True),
    Head("ResNetForImageClassification", _resnet, (head_rows.IMAGES,), _classes),
    Head(
        "Wav2Vec2ForCTC, mean",
        lambda draw: _wav2vec2(draw, "mean"),
        (head_rows.SOUNDS,),
        _heard_per_token,
    ),
    Head(
        "Wav2Vec2ForCTC, sum",
        lambda draw: _wav2vec2(draw, "sum"),
        (head_rows.SOUNDS,),
        lambda outputs, batch: _heard(outputs, batch).sum(),
        unit="step",
    ),
    Head("BertForQuestionAnswering", _bert, (head_rows.ANSWER,), _answers, labelled=False),
    Head("LlamaForQuestionAnswering", _llama, (head_rows.ANSWER,), _answers, labelled=False),
    Head(
        "BertForTokenClassification",
        lambda draw: _bert(draw, **SORTING),
        (head_rows.CLASS_OF_EACH,),
        _targets,
        unit="targets",
    ),
    Head(
        "BertForTokenClassification, dropout",
        lambda draw: _bert(draw, **SORTING, **DROPOUT),
        (head_rows.CLASS_OF_EACH,),
        _targets,
        unit="targets",
        made_up=False,
    ),
    Head(
        "LlamaForTokenClassification",
        lambda draw: _llama(draw, **SORTING, classifier_dropout=0.0),
        (head_rows.CLASS_OF_EACH,),
        _targets,
        unit="targets",
    ),
    Head("BertForMaskedLM", _bert, (head_rows.MASKED,), _targets, unit="targets"),
    Head("ModernBertForMaskedLM", _modern, (head_rows.MASKED,), _targets, unit="targets", counts=True),
    Head("T5ForConditionalGeneration", _t5, TO_TEXT, _targets, unit="targets"),
    Head("BartForConditionalGeneration", _bart, TO_TEXT, _targets, unit="targets"),
    Head("WhisperForConditionalGeneration", _whisper, TO_SPOKEN, _targets, unit="targets"),
)

HEADS: dict[str, Head] = {head.name: head for head in _ALL}
