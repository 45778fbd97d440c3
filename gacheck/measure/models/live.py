"""A model that somebody has in memory."""

from __future__ import annotations

from typing import Any

from gacheck.measure.models.building import trained_for
from gacheck.measure.models.dropout import switch_off_dropout
from gacheck.measure.models.preparing import model_facts
from gacheck.measure.models.tokenizer import byte_tokenizer
from gacheck.record.parts import ModelFacts
from gacheck.watch.description import base_model, model_name


class LiveModel:
    """A model in memory.

    Args:
        model: A causal language model; its dropout is switched off, so that it has to be put back afterwards.
        tokenizer: Its own; one of bytes serves a model without.
    """

    def __init__(self, model: Any, tokenizer: Any = None) -> None:
        self._model = model
        self._tokenizer = tokenizer

    @property
    def task(self) -> str:
        """What the model is trained for."""
        model = base_model(self._model)
        return trained_for(type(model), model.config)

    def load_tokenizer(self) -> Any:
        """Return the tokenizer.

        Raises:
            ModelError: The vocabulary is too small for one made on the spot.
        """
        if self._tokenizer is not None:
            return self._tokenizer
        fix = "hand over its own:  gacheck.check(model, tokenizer=tokenizer)"
        return byte_tokenizer(self._model.config, name="The model", fix=fix)

    def load_model(self) -> tuple[Any, ModelFacts]:
        """Return the model, its dropout switched off."""
        switch_off_dropout(self._model)
        facts = model_facts(
            self._model,
            name=model_name(self._model),
            stand_in=False,
            random_weights=False,
            own_tokenizer=self._tokenizer is not None,
            task=self.task,
        )
        return self._model, facts
