"""Stand-ins: any architecture, tiny, with random weights and a tokenizer trained on the spot.

What is under test is the code that computes and scales the loss. That code is the same for two layers of width 64
as for the model's real size, so a verdict about a class needs neither its weights nor the network. It is the same only
while the stand-in is made of the same parts: one that lacks a class of module of its original is refused.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import transformers
from transformers import CONFIG_MAPPING, AutoConfig, PretrainedConfig

from gacheck.config import STAND_IN_PREFIX, ExperimentConfig
from gacheck.errors import ModelError, PackageError
from gacheck.measure.heads.recipe import NoRecipe, NotTrained, Recipe
from gacheck.measure.heads.rows import cannot_be_trained, make_head_rows
from gacheck.measure.heads.tasks import is_causal
from gacheck.measure.heads.untrained import refuses_labels
from gacheck.measure.models.building import (
    build,
    cannot_be_built,
    check_head,
    check_language_model,
    find_head,
    language_model,
    make,
    named_class,
)
from gacheck.measure.models.demands import give_demanded
from gacheck.measure.models.fitting import fit
from gacheck.measure.models.folder import ModelFolder, find_folder, read_config, with_fresh_adapter
from gacheck.measure.models.original import Original, build_original, complete_by_forward
from gacheck.measure.models.preparing import cannot_be_read, model_facts, prepare_config, prepare_model
from gacheck.measure.models.shrinking import PAD, shrink
from gacheck.measure.models.tokenizer import VOCABULARY, byte_tokenizer
from gacheck.measure.user_code import failures_as
from gacheck.record.parts import ModelFacts


class StandIn:
    """A stand-in: `tiny:TYPE`, `tiny:CLASS`, or by `--tiny` that of a model in a folder or of a hub id.

    Raises:
        ModelError: There is no such type or model, or its config cannot be shrunk.
        ResourceError: The config could not be downloaded.
        ConfigError: An override cannot be applied.
    """

    def __init__(self, config: ExperimentConfig) -> None:
        self._config = config
        self._folder: ModelFolder | None = None
        if config.tiny:
            self._folder = find_folder(config.model, config.revision, config)
            model_config, saved = read_config(self._folder, config)
        else:
            name = config.model.removeprefix(STAND_IN_PREFIX)
            if config.task is None and config.model_class is None:
                check_language_model(name)
            model_config, saved = _named(name)
        is_text = is_causal(find_head(model_config, config, saved).task)
        if not config.tiny and not is_text and getattr(model_config, "is_decoder", False):
            # What encodes looks ahead, unless it is to generate.
            model_config.is_decoder = type(model_config)().is_decoder
        # Neither the user's own code nor what the user changes is measured against the original.
        is_own = config.model_class is not None or bool(config.config_override)
        self._original = None if is_own else Original(model_config, lambda each: make(find_head(each, config, saved)))
        self._before, self._saved = model_config, saved
        self._hint: Recipe | None = None
        with self._errors():
            self._model_config = _shrunk(model_config, VOCABULARY)
        prepare_config(self._model_config, config)
        self._head = find_head(self._model_config, config, saved)

    @property
    def task(self) -> str:
        """What the model is trained for."""
        return self._head.task

    def load_tokenizer(self) -> Any:
        """Train a tokenizer of bytes."""
        return byte_tokenizer(self._model_config, name=self._config.model, fix="leave vocab_size as it is")

    def load_model(self) -> tuple[Any, ModelFacts]:
        """Build the model.

        Raises:
            ModelError: It cannot be built, or lacks a class of module of its original.
        """
        with failures_as(partial(cannot_be_read, self._config)), self._errors():
            model = fit(self._before, self._model_config, self._made, self._is_hopeless)
            if self._folder is not None and self._folder.base is not None:
                model = with_fresh_adapter(model, self._folder)
        prepare_model(model, self._config)
        facts = model_facts(
            model, name=self._config.model, stand_in=True, random_weights=True, own_tokenizer=False, task=self.task
        )
        return model, facts

    def _made(self, model_config: Any, *, again: bool = False, hinted: bool = False) -> Any:
        """Build the model of a config; where it is no language model, it has to take rows, too."""
        head = find_head(model_config, self._config, self._saved)
        refusal = None if is_causal(head.task) else refuses_labels(head.model_class)
        if refusal is not None:
            raise cannot_be_trained(head.model_class.__name__, refusal) from NotTrained(refusal)
        model = complete_by_forward(lambda: build(head, self._config), head.config)
        if self._original is not None:
            self._original.check(model)
        if not is_causal(head.task):
            try:
                self._try_rows(model.train(), head.task, widely=not again, hint=self._hint if hinted else None)
            except ModelError as error:
                if not any(give_demanded(head.config, each) for each in _causes(error)):
                    raise
                return self._made(model_config, again=again, hinted=hinted)
        return model

    def _try_rows(self, model: Any, task: str, *, widely: bool, hint: Recipe | None) -> None:
        """Make rows; those with which the model came furthest are kept as a hint."""
        try:
            make_head_rows(model, task, self._config, widely=widely, hint=hint)
        except ModelError as error:
            if widely and isinstance(error.__cause__, NoRecipe):
                self._hint = error.__cause__.recipe
            raise

    def _is_hopeless(self, error: Exception) -> bool:
        """Whether no size of the config is to blame, or it is the user's."""
        not_trained = isinstance(error, PackageError) or isinstance(error.__cause__, NotTrained)
        return not_trained or bool(self._config.config_override)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Say of what cannot be built whether that is the stand-in's fault or its original's."""
        try:
            with failures_as(partial(cannot_be_built, self._config.model.removeprefix(STAND_IN_PREFIX))):
                yield
        except ModelError as error:
            if self._original is None or isinstance(error.__cause__, NotTrained):
                raise
            raise self._original.explain(error) from error


def _causes(error: ModelError) -> Iterator[Exception]:
    """Walk through what a model raised with rows that it did not take: what came furthest, then what is told."""
    if isinstance(error.__cause__, NoRecipe):
        yield from (each for each in (error.__cause__.furthest, error.__cause__) if each is not None)


def tiny_config(model_type: str, vocab_size: int) -> PretrainedConfig:
    """Build the tiny config of an architecture.

    Args:
        model_type: A model type of the installed transformers, such as `llama`.
        vocab_size: Number of tokens.

    Returns:
        The config: about 64 wide, 2 to 8 layers deep, without dropout.

    Raises:
        ModelError: The installed transformers does not know the type, or its config cannot be shrunk.
    """
    config = default_config(model_type)
    with suppress(Exception):  # what cannot be built as it is may be as a stand-in
        build_original(config, _language_model)
    with failures_as(partial(cannot_be_built, model_type)):
        return _shrunk(config, vocab_size)


def default_config(model_type: str) -> PretrainedConfig:
    """Return the config of an architecture as its class has it by default.

    Raises:
        ModelError: The installed transformers does not know the type, or its default config is not valid.
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
        return config


def _named(name: str) -> tuple[PretrainedConfig, str | None]:
    """Return the default config of what a stand-in is named by, and the class if it is one."""
    named = None
    if name not in CONFIG_MAPPING:
        named = named_class(name)
        if named is None:
            check_head(name)
    if named is None:
        return default_config(name), None
    model_type = named.config_class.model_type
    known = model_type in CONFIG_MAPPING and CONFIG_MAPPING[model_type] is named.config_class
    return default_config(model_type) if known else named.config_class(), name


def _shrunk(config: PretrainedConfig, vocab_size: int) -> PretrainedConfig:
    tiny = shrink(config, vocab_size)
    for part in (tiny, getattr(tiny, "decoder", None)) if tiny.is_encoder_decoder else ():
        for name in ("decoder_start_token_id", "pad_token_id"):
            if hasattr(part, "model_type") and getattr(part, name, None) is None:
                setattr(part, name, PAD)  # some types leave it to their checkpoints
    return tiny


def _language_model(config: PretrainedConfig) -> Any:
    model_class, part = language_model(config)
    return model_class(part)
