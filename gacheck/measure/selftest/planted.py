"""A mutant as a source of model and tokenizer."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch

from gacheck.config import ExperimentConfig
from gacheck.measure.models.preparing import model_facts, prepare_model
from gacheck.measure.models.stand_in import tiny_config
from gacheck.measure.models.tokenizer import VOCABULARY, byte_tokenizer
from gacheck.measure.selftest.mutants import Mutant
from gacheck.record.parts import ModelFacts
from gacheck.rules.task import CAUSAL_LM

MODEL_TYPE = "llama"


class Planted:
    """The model of a mutant: a tiny Llama of its class."""

    def __init__(self, mutant: Mutant, config: ExperimentConfig) -> None:
        self._mutant = mutant
        self._config = config

    @property
    def task(self) -> str:
        """Return the task of all mutants."""
        return CAUSAL_LM.name

    def load_tokenizer(self) -> Any:
        """Return the tokenizer of all mutants."""
        return _tokenizer()

    def load_model(self) -> tuple[Any, ModelFacts]:
        """Build the model."""
        torch.manual_seed(self._config.seed)
        model = self._mutant.model_class(tiny_config(MODEL_TYPE, VOCABULARY))
        prepare_model(model, self._config)
        facts = model_facts(model, name=self._mutant.name, stand_in=True, random_weights=True, own_tokenizer=False)
        return model, facts


@cache
def _tokenizer() -> Any:
    return byte_tokenizer(tiny_config(MODEL_TYPE, VOCABULARY), name=MODEL_TYPE, fix="widen the vocabulary")
