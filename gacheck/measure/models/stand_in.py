"""Stand-ins: any architecture, tiny, with random weights and a tokenizer trained on the spot.

What is under test is the code that computes and scales the loss. That code is the same for two layers of width 64
as for the model's real size, so a verdict about a class needs neither its weights nor the network.
"""

from __future__ import annotations

import difflib
from functools import partial
from typing import Any

import transformers
from transformers import CONFIG_MAPPING, AutoConfig, PretrainedConfig

from gacheck.config import STAND_IN_PREFIX, ExperimentConfig
from gacheck.errors import ModelError
from gacheck.measure.heads.tasks import is_causal
from gacheck.measure.models.building import build, cannot_be_built, check_head, find_head, named_class
from gacheck.measure.models.preparing import cannot_be_read, model_facts, prepare_config, prepare_model
from gacheck.measure.models.shrinking import PAD, shrink
from gacheck.measure.models.tokenizer import VOCABULARY, byte_tokenizer
from gacheck.measure.user_code import failures_as
from gacheck.record.parts import ModelFacts


class StandIn:
    """A stand-in, `tiny:TYPE`.

    Raises:
        ModelError: There is no such type.
        ConfigError: An override cannot be applied.
    """

    def __init__(self, config: ExperimentConfig) -> None:
        self._config = config
        name = config.model.removeprefix(STAND_IN_PREFIX)
        named = None
        if name not in CONFIG_MAPPING:
            named = named_class(name)
            if named is None:
                check_head(name)
        model_type = name if named is None else named.config_class.model_type
        self._model_config = tiny_config(model_type, VOCABULARY)
        prepare_config(self._model_config, config)
        self._head = find_head(self._model_config, config, None if named is None else name)
        if not is_causal(self._head.task) and getattr(self._model_config, "is_decoder", False):
            # What encodes looks ahead, unless it is to generate.
            self._model_config.is_decoder = type(self._model_config)().is_decoder

    @property
    def task(self) -> str:
        """What the model is trained for."""
        return self._head.task

    def load_tokenizer(self) -> Any:
        """Train a tokenizer of bytes."""
        return byte_tokenizer(self._model_config, name=self._config.model, fix="leave vocab_size as it is")

    def load_model(self) -> tuple[Any, ModelFacts]:
        """Build the model."""
        with failures_as(partial(cannot_be_read, self._config)):
            model = build(self._head, self._config)
        prepare_model(model, self._config)
        facts = model_facts(
            model, name=self._config.model, stand_in=True, random_weights=True, own_tokenizer=False, task=self.task
        )
        return model, facts


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
        # A class is a long word: one that is near is that one but for a slip.
        close = close or difflib.get_close_matches(model_type, dir(transformers), n=1, cutoff=0.9)
        raise ModelError(
            f"The model type {model_type!r} is unknown.",
            why=f"transformers {transformers.__version__}, which is installed, has no config for it.",
            fix=f"did you mean  {' or '.join(f'tiny:{each}' for each in close)}?"
            if close
            else "name a model type of transformers, such as  tiny:llama, or upgrade transformers",
        )
    with failures_as(partial(cannot_be_built, model_type)):
        config = AutoConfig.for_model(model_type)
        if getattr(config, "is_decoder", None) is False:
            config.is_decoder = True  # encoders look ahead, unless told that they are to generate
        tiny = shrink(config, vocab_size)
        if tiny.is_encoder_decoder and getattr(tiny, "decoder_start_token_id", None) is None:
            tiny.decoder_start_token_id = PAD  # some types leave it to their checkpoints
        return tiny
