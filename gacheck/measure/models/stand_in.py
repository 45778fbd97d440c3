"""Stand-ins: any architecture, tiny, with random weights and a tokenizer trained on the spot.

What is under test is the code that computes and scales the loss. That code is the same for two layers of width 64
as for the model's real size, so a verdict about a class needs neither its weights nor the network.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import CONFIG_MAPPING, AutoConfig, AutoModelForCausalLM, PretrainedConfig, PreTrainedModel

from gacheck.errors import ModelError
from gacheck.measure.models.shrinking import shrink

# Their ids are their places: `shrinking` gives configs the same ones.
SPECIAL_TOKENS = {"pad_token": "<pad>", "eos_token": "<eos>", "bos_token": "<bos>", "unk_token": "<unk>"}


def tiny_config(model_type: str, vocab_size: int) -> PretrainedConfig:
    """Build the tiny config of an architecture.

    Args:
        model_type: A model type of the installed transformers, such as `llama`.
        vocab_size: Number of tokens.

    Returns:
        The config: about 64 wide, 2 to 4 layers deep, without dropout.

    Raises:
        ModelError: The installed transformers does not know the type, or its config cannot be shrunk.
    """
    known = list(CONFIG_MAPPING.keys())
    if model_type not in known:
        close = difflib.get_close_matches(model_type, known, n=3)
        raise ModelError(
            f"The model type {model_type!r} is unknown.",
            why=f"transformers {transformers.__version__}, which is installed, has no config for it.",
            fix=f"Did you mean {' or '.join(close)}?" if close else "Check the spelling, or upgrade transformers.",
        )
    with _explained(model_type):
        config = AutoConfig.for_model(model_type)
        if getattr(config, "is_decoder", None) is False:
            config.is_decoder = True  # encoders look ahead, unless told that they are to generate
        return shrink(config, vocab_size)


def language_model(config: PretrainedConfig) -> tuple[type[PreTrainedModel], PretrainedConfig]:
    """Choose the class for a config, and the part of the config that it reads.

    The causal LM of the config's type, else its image-text-to-text model.

    Raises:
        ModelError: The type has neither class.
    """
    # A release without the second class simply has one auto class less to ask.
    for auto in (AutoModelForCausalLM, getattr(transformers, "AutoModelForImageTextToText", None)):
        if auto is not None and type(config) in auto._model_mapping:
            model_class = auto._model_mapping[type(config)]
            # As `from_pretrained` does: a text-only class under the whole model's name reads the text part.
            text = config.get_text_config()
            return model_class, text if model_class.config_class is type(text) else config
    raise ModelError(
        f"The model type {config.model_type!r} has no language-modelling class.",
        why=f"transformers {transformers.__version__} lists it neither as causal LM nor as image-text-to-text model.",
        fix="choose a model that generates text, such as llama",
    )


def build_model(config: PretrainedConfig, seed: int) -> PreTrainedModel:
    """Build a model with random weights.

    Args:
        config: The config, usually from `tiny_config`.
        seed: What torch's global generator is seeded with; it decides the weights.

    Returns:
        The model on the CPU in float32.

    Raises:
        ModelError: The type has no language-modelling class, or that cannot be built from the config.
    """
    model_class, config = language_model(config)
    torch.manual_seed(seed)
    with _explained(config.model_type):
        model: PreTrainedModel = model_class(config)
    return model.float()


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


@contextmanager
def _explained(model_type: str) -> Iterator[None]:
    """Turn whatever transformers raises, where fields do not fit together once shrunk, into our error."""
    try:
        yield
    except Exception as error:
        first_line = (str(error).strip().splitlines() or [""])[0]
        raise ModelError(
            f"No tiny {model_type} can be built.",
            why=f"{type(error).__name__}: {first_line}",
            fix="Name a small checkpoint of this architecture instead.",
        ) from error
