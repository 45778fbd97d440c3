"""A tokenizer of bytes, trained on the spot for a model that has none."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from gacheck.errors import ModelError
from gacheck.measure.models.parts import text_config
from gacheck.measure.text.sources import builtin_texts

# Tokens of a stand-in, and most of a tokenizer made for a model: a few above the bytes, so that some are merged.
VOCABULARY = 300
# Their ids are their places: `shrinking` gives configs the same ones.
SPECIAL_TOKENS = {"pad_token": "<pad>", "eos_token": "<eos>", "bos_token": "<bos>", "unk_token": "<unk>"}


def byte_tokenizer(model_config: Any, *, name: str, fix: str) -> transformers.PreTrainedTokenizerFast:
    """Train one on the built-in text that fits into a model's vocabulary.

    Args:
        model_config: The model's.
        name: Of the model, for the message.
        fix: What helps where the vocabulary is too small.

    Raises:
        ModelError: It is smaller than the number of bytes.
    """
    most = getattr(text_config(model_config), "vocab_size", VOCABULARY)
    try:
        return _of_builtin_text(min(most, VOCABULARY))
    except ValueError as error:
        raise ModelError(
            f"{name} has no tokenizer, and its vocabulary is too small for one of bytes.", why=str(error), fix=fix
        ) from None


@cache
def _of_builtin_text(vocab_size: int) -> transformers.PreTrainedTokenizerFast:
    # Once a process: `tokenizers` does not give back a quarter of a megabyte of each that was used.
    return train_tokenizer(builtin_texts(), vocab_size)


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> transformers.PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer: same texts, same tokenizer.

    Args:
        texts: The training texts; read once.
        vocab_size: Most tokens that it may have: at least 260, the 256 bytes and 4 special tokens.

    Returns:
        A tokenizer that pads on the right, adds no special tokens itself, and decodes to exactly what was encoded.

    Raises:
        ValueError: `vocab_size` is below 260.
    """
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    smallest = len(alphabet) + len(SPECIAL_TOKENS)
    if vocab_size < smallest:
        raise ValueError(f"vocab_size must be at least {smallest}, got {vocab_size}")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL_TOKENS.values()),
        initial_alphabet=sorted(alphabet),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, padding_side="right", clean_up_tokenization_spaces=False, **SPECIAL_TOKENS
    )
