"""The ways to a model: a stand-in, a folder or a hub id by name; a live one and a planted one are handed over."""

from __future__ import annotations

from typing import Any, Protocol

from gacheck.config import STAND_IN_PREFIX, ExperimentConfig
from gacheck.measure.models.folder import FolderModel
from gacheck.measure.models.naming import check_name
from gacheck.measure.models.stand_in import StandIn
from gacheck.record.parts import ModelFacts


class ModelSource(Protocol):
    """One way to a model; the weights are not loaded before they are asked for."""

    @property
    def task(self) -> str:
        """What the model is trained for, as its auto class is called."""

    def load_tokenizer(self) -> Any:
        """Return the tokenizer: the model's own, or one made for it on the spot."""

    def load_model(self) -> tuple[Any, ModelFacts]:
        """Return the model in the dtype of the run, its dropout switched off, and what is to be recorded of it."""


def open_model(config: ExperimentConfig) -> ModelSource:
    """Open what `config.model` names.

    Raises:
        ModelError: There is no such model, or a part of it is missing.
        ResourceError: It could not be downloaded.
        ConfigError: An option does not go with it.
    """
    check_name(config)
    is_stand_in = config.tiny or config.model.startswith(STAND_IN_PREFIX)
    return StandIn(config) if is_stand_in else FolderModel(config)
