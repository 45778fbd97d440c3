"""A model that somebody has in memory, as a source of model and tokenizer."""

from __future__ import annotations

from typing import Any

from gacheck.errors import ModelError
from gacheck.measure.models.dropout import silence_config, silence_model
from gacheck.measure.models.folder import STAND_IN_VOCABULARY
from gacheck.measure.models.stand_in import train_tokenizer
from gacheck.measure.text.sources import builtin_texts
from gacheck.record.parts import ModelFacts
from gacheck.watch.description import describe_model


class LiveModel:
    """A model in memory.

    Args:
        model: A causal language model; its dropout is switched off, so that it has to be put back afterwards.
        tokenizer: Its own; one trained on the spot serves a model without.
    """

    def __init__(self, model: Any, tokenizer: Any = None) -> None:
        self._model = model
        self._tokenizer = tokenizer

    def load_tokenizer(self) -> Any:
        """Return the tokenizer.

        Raises:
            ModelError: The vocabulary is too small for one made on the spot.
        """
        if self._tokenizer is not None:
            return self._tokenizer
        most = getattr(self._model.config.get_text_config(), "vocab_size", STAND_IN_VOCABULARY)
        try:
            return train_tokenizer(builtin_texts(), min(most, STAND_IN_VOCABULARY))
        except ValueError as error:
            raise ModelError(
                "The model's vocabulary is too small for a tokenizer of bytes.",
                why=str(error),
                fix="hand over its own:  gacheck.check(model, tokenizer=tokenizer)",
            ) from None

    def load_model(self) -> tuple[Any, ModelFacts]:
        """Return the model, its dropout switched off."""
        silence_config(self._model.config)
        silence_model(self._model)
        described = describe_model(self._model)
        return self._model, ModelFacts(
            name=str(getattr(self._model.config, "_name_or_path", "") or described.class_name),
            class_name=described.class_name,
            model_type=described.model_type,
            num_parameters=described.num_parameters,
            stand_in=False,
            random_weights=False,
            adapter=described.adapter,
            own_tokenizer=self._tokenizer is not None,
            accepts_loss_kwargs_declared=described.declared,
            forward_has_kwargs=described.takes_kwargs,
        )
