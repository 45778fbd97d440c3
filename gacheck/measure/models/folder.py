"""A folder written by `save_pretrained`, or a hub id that was fetched to one; for an adapter, its base's folder too."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoTokenizer

from gacheck.config import ExperimentConfig
from gacheck.errors import ConfigError, ModelError
from gacheck.measure.memory import check_weights, num_saved, num_to_make
from gacheck.measure.models.building import build, find_head, make
from gacheck.measure.models.hub import fetch_model
from gacheck.measure.models.indexes import check_indexes
from gacheck.measure.models.naming import check_folder
from gacheck.measure.models.preparing import cannot_be_read, model_facts, prepare_config, prepare_model
from gacheck.measure.models.tokenizer import byte_tokenizer
from gacheck.measure.user_code import failures_as
from gacheck.record.parts import ModelFacts

COMMIT = re.compile(r"[0-9a-f]{40}")
TOKENIZER_FILES = ("tokenizer*", "vocab*", "*.model")


@dataclass(frozen=True)
class ModelFolder:
    """Where a model lies; for an adapter, where its base lies too."""

    name: str
    path: Path
    from_hub: bool
    base: ModelFolder | None = None

    @property
    def root(self) -> ModelFolder:
        """The folder with the model's config: the base's for an adapter."""
        return self.base or self

    def holds(self, *patterns: str) -> bool:
        """Whether a file of such a name is there."""
        return any(any(self.path.glob(pattern)) for pattern in patterns)


class FolderModel:
    """A model in a folder, or an adapter in a folder and its base in another.

    Raises:
        ModelError: There is no such model, or a part of it is missing.
        ResourceError: It could not be downloaded.
        ConfigError: Remote code is to be run from a revision that is not pinned, or an override cannot be applied.
    """

    def __init__(self, config: ExperimentConfig) -> None:
        self._config = config
        self._folder = find_folder(config.model, config.revision, config)
        self._model_config, saved = read_config(self._folder, config)
        prepare_config(self._model_config, config)
        self._head = find_head(self._model_config, config, saved)

    @property
    def task(self) -> str:
        """What the model is trained for."""
        return self._head.task

    def load_tokenizer(self) -> Any:
        """Read the model's tokenizer; one of bytes serves a model without."""
        folder = self._tokenizer_folder
        if folder is None:
            return byte_tokenizer(
                self._model_config, name=self._config.model, fix="save the model's tokenizer into its folder"
            )
        with failures_as(partial(cannot_be_read, self._config)):
            return AutoTokenizer.from_pretrained(folder.path, trust_remote_code=self._config.trust_remote_code)

    def load_model(self) -> tuple[Any, ModelFacts]:
        """Load the weights, or make random ones."""
        config = self._config
        random_weights = config.random_init or not self._has_weights()
        with failures_as(partial(cannot_be_read, config)):
            root = self._folder.root.path
            num = num_to_make(partial(make, self._head)) if random_weights else num_saved(root)
            check_weights(config.model, num, getattr(torch, config.dtype))
            model = build(self._head, config) if random_weights else self._read()
            if self._folder.base is not None:
                model = _with_adapter(model, self._folder)
        prepare_model(model, config)
        facts = model_facts(
            model,
            name=config.model,
            stand_in=False,
            random_weights=random_weights,
            own_tokenizer=self._tokenizer_folder is not None,
            task=self.task,
        )
        return model, facts

    @property
    def _tokenizer_folder(self) -> ModelFolder | None:
        """Where a tokenizer lies: beside the adapter, or else beside its base."""
        folders = (self._folder, self._folder.base)
        return next((folder for folder in folders if folder is not None and folder.holds(*TOKENIZER_FILES)), None)

    def _has_weights(self) -> bool:
        root = self._folder.root
        check_indexes(root.path)
        if root.holds("model*.safetensors"):
            return True
        if root.holds("*.bin") or root.from_hub:
            raise ModelError(
                f"{root.name} has no weights in safetensors.",
                why="Other formats are pickles, which can run code when they are read.",
                fix="save it again with save_pretrained, or take random weights with  --random-init",
            )
        return False  # a folder with a config alone: its class can be checked with random weights

    def _read(self) -> Any:
        head = self._head
        trust = {"trust_remote_code": True} if hasattr(head.model_class, "_model_mapping") else {}
        model, loading = head.model_class.from_pretrained(
            self._folder.root.path, config=head.config, use_safetensors=True, output_loading_info=True, **trust
        )
        missing = sorted(loading["missing_keys"])
        # Who names a class or a task of another kind than what was saved gets a head of random weights.
        if missing and self._config.model_class is None and self._config.task is None:
            raise ModelError(
                f"{len(missing)} weights are missing from {self._folder.root.name}, the first: {missing[0]}",
                why=f"They would be random in a {type(model).__name__} that passes for a trained one.",
                fix="check that the folder holds the whole model, or take random weights with  --random-init",
            )
        return model


def read_config(folder: ModelFolder, config: ExperimentConfig) -> tuple[Any, str | None]:
    """Read a model's config, and the name of the class that was saved if it says.

    Raises:
        ModelError: It cannot be read.
    """
    with failures_as(partial(cannot_be_read, config)):
        model_config = AutoConfig.from_pretrained(folder.root.path, trust_remote_code=config.trust_remote_code)
    saved = getattr(model_config, "architectures", None) or [None]
    return model_config, saved[0]


def find_folder(name: str, revision: str | None, config: ExperimentConfig) -> ModelFolder:
    """Find the folder of a model, or of an adapter and its base; fetch what is not here.

    Raises:
        ModelError: There is no such model, or no config in its folder.
        ResourceError: It could not be downloaded.
        ConfigError: Its code is to be run from a revision that is not pinned.
    """
    path = Path(name).expanduser()
    from_hub = not path.is_dir()
    if from_hub:
        if config.trust_remote_code and not COMMIT.fullmatch(revision or ""):
            raise ConfigError(
                f"The code of {name} is not run from a revision that can change.",
                why="--trust-remote-code runs Python from the repository with your rights.",
                fix="pin the commit that you have read:  --revision <40 hexadecimal digits>",
            )
        path = fetch_model(
            name, revision, weights=not (config.random_init or config.tiny), code=config.trust_remote_code
        )
    _refuse_foreign_code(name, path)
    if (path / "adapter_config.json").is_file():
        return ModelFolder(name, path, from_hub, find_folder(*_base_of(path), config))
    check_folder(name, path)
    return ModelFolder(name, path, from_hub)


def _refuse_foreign_code(name: str, folder: Path) -> None:
    """Refuse a folder that sends transformers to another repository for code: no pin covers that one."""
    for file in folder.glob("*config.json"):
        try:
            auto_map = json.loads(file.read_text(encoding="utf-8")).get("auto_map") or {}
        except (OSError, ValueError, AttributeError):
            continue  # reading it properly will say what is wrong
        if "--" in json.dumps(auto_map):
            raise ModelError(
                f"{file.name} of {name} takes its code from another repository.",
                why="A pinned revision says nothing of what that repository holds tomorrow.",
                fix="download the code, read it, and name its classes with --model-class",
            )


def _base_of(adapter: Path) -> tuple[str, str | None]:
    """Return the model that an adapter was made for, and its revision if the adapter says."""
    try:
        facts = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
        base, revision = facts["base_model_name_or_path"], facts.get("revision")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        base, revision = None, None
    if not base or not isinstance(base, str):
        raise ModelError(
            f"The adapter in {adapter} does not say which model it is for.",
            why="Its adapter_config.json has no base_model_name_or_path.",
            fix="write the adapter again with peft's save_pretrained",
        )
    return base, revision


def _with_adapter(model: Any, folder: ModelFolder) -> Any:
    if not folder.holds("adapter_model.safetensors"):
        raise ModelError(
            f"The adapter {folder.name} has no weights in safetensors.",
            why="Other formats are pickles, which can run code when they are read.",
            fix="write the adapter again with peft's save_pretrained",
        )
    return _peft(folder).PeftModel.from_pretrained(model, folder.path, is_trainable=True)


def with_fresh_adapter(model: Any, folder: ModelFolder) -> Any:
    """Put an adapter of the kind in a folder on a model; its weights are not read.

    Raises:
        ModelError: peft is not installed.
    """
    peft = _peft(folder)
    return peft.get_peft_model(model, peft.PeftConfig.from_pretrained(folder.path))


def _peft(folder: ModelFolder) -> Any:
    try:
        import peft
    except ImportError:
        raise ModelError(
            f"{folder.name} is an adapter, and peft is not installed.",
            why="peft puts the adapter on its model.",
            fix="pip install peft",
        ) from None
    return peft
