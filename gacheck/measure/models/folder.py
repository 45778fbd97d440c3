"""A stand-in, a folder or a hub id → model and tokenizer, with dropout off."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from gacheck.config import STAND_IN_PREFIX, ExperimentConfig
from gacheck.errors import ConfigError, GacheckError, ModelError
from gacheck.measure.models.dropout import silence_config, silence_model
from gacheck.measure.models.hub import fetch_model
from gacheck.measure.models.stand_in import build_model, language_model, tiny_config, train_tokenizer
from gacheck.measure.objects import import_object
from gacheck.measure.text.sources import builtin_texts
from gacheck.record.parts import ModelFacts
from gacheck.watch.description import describe_model

STAND_IN_VOCABULARY = 300
COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class ModelFolder:
    """Where a model lies; for an adapter, where its base lies too."""

    name: str
    path: Path
    base: ModelFolder | None = None

    @property
    def root(self) -> ModelFolder:
        """The folder with the model's config: the base's for an adapter."""
        return self.base or self

    def holds(self, pattern: str) -> bool:
        """Whether a file of that name is there."""
        return any(self.path.glob(pattern))


class ModelSource:
    """What `config.model` names; nothing is loaded before it is asked for.

    Raises:
        ModelError: There is no such model, or a part of it is missing.
        ResourceError: It could not be downloaded.
        ConfigError: Remote code is to be run from a revision that is not pinned.
    """

    def __init__(self, config: ExperimentConfig) -> None:
        self._config = config
        self._stand_in = config.model.startswith(STAND_IN_PREFIX)
        if self._stand_in and (config.revision or config.trust_remote_code):
            raise ConfigError(
                f"--revision and --trust-remote-code do not go with {config.model}.",
                why="A stand-in is made here; there is no repository that they could speak of.",
                fix="leave them out, or name a hub id",
            )
        self._own_tokenizer = False
        self._folder = None if self._stand_in else self._find(config.model, config.revision)
        with self._explained():
            self._model_config = self._read_config()
        _prepare(self._model_config, config)

    def load_tokenizer(self) -> Any:
        """Read the model's tokenizer; one trained on the spot serves a model without."""
        for folder in (self._folder, self._folder.base) if self._folder else ():
            if folder is not None and (folder.holds("tokenizer*") or folder.holds("vocab*") or folder.holds("*.model")):
                with self._explained():
                    self._own_tokenizer = True
                    return AutoTokenizer.from_pretrained(folder.path, trust_remote_code=self._config.trust_remote_code)
        most = getattr(self._model_config.get_text_config(), "vocab_size", STAND_IN_VOCABULARY)
        try:
            return train_tokenizer(builtin_texts(), min(most, STAND_IN_VOCABULARY))
        except ValueError as error:
            raise ModelError(
                f"{self._config.model} has no tokenizer, and its vocabulary is too small for one of bytes.",
                why=str(error),
                fix="save the model's tokenizer into its folder",
            ) from None

    def load_model(self) -> tuple[Any, ModelFacts]:
        """Load the weights, or make random ones, in `config.dtype` on the CPU, dropout off."""
        random_weights = self._stand_in or self._config.random_init or not self._has_weights()
        with self._explained():
            model = self._build() if random_weights else self._read_model()
            if self._folder is not None and self._folder.base is not None:
                model = _with_adapter(model, self._folder)
        model.to(getattr(torch, self._config.dtype))
        silence_model(model)
        return model, self._facts(model, random_weights=random_weights)

    def _find(self, name: str, revision: str | None) -> ModelFolder:
        config = self._config
        path = Path(name).expanduser()
        if not path.is_dir():
            if config.trust_remote_code and not COMMIT.fullmatch(revision or ""):
                raise ConfigError(
                    f"The code of {name} is not run from a revision that can change.",
                    why="--trust-remote-code runs Python from the repository with your rights.",
                    fix="pin the commit that you have read:  --revision <40 hexadecimal digits>",
                )
            path = fetch_model(name, revision, weights=not config.random_init, code=config.trust_remote_code)
        _refuse_foreign_code(name, path)
        if (path / "adapter_config.json").is_file():
            base, base_revision = _base_of(path)
            return ModelFolder(name, path, self._find(base, base_revision))
        if not (path / "config.json").is_file():
            raise ModelError(
                f"There is no model at {name}.",
                why="The folder has no config.json.",
                fix="name a folder written by save_pretrained, or try  --model tiny:gemma3",
            )
        return ModelFolder(name, path)

    def _has_weights(self) -> bool:
        assert self._folder is not None
        root = self._folder.root
        if root.holds("model*.safetensors"):
            return True
        if root.holds("*.bin") or not Path(root.name).expanduser().is_dir():
            raise ModelError(
                f"{root.name} has no weights in safetensors.",
                why="Other formats are pickles, which can run code when they are read.",
                fix="save it again with save_pretrained, or take random weights with  --random-init",
            )
        return False  # a folder with a config alone: its class can be checked with random weights

    def _read_config(self) -> Any:
        if self._folder is None:
            return tiny_config(self._config.model.removeprefix(STAND_IN_PREFIX), STAND_IN_VOCABULARY)
        return AutoConfig.from_pretrained(self._folder.root.path, trust_remote_code=self._config.trust_remote_code)

    def _build(self) -> Any:
        if self._config.model_class is not None:
            torch.manual_seed(self._config.seed)
            return import_object(self._config.model_class)(self._model_config).float()
        if self._config.trust_remote_code and hasattr(self._model_config, "auto_map"):
            torch.manual_seed(self._config.seed)
            return AutoModelForCausalLM.from_config(self._model_config, trust_remote_code=True).float()
        return build_model(self._model_config, self._config.seed)

    def _read_model(self) -> Any:
        assert self._folder is not None
        model_class, config = self._class()
        trust = {"trust_remote_code": True} if model_class is AutoModelForCausalLM else {}
        model, loading = model_class.from_pretrained(
            self._folder.root.path, config=config, use_safetensors=True, output_loading_info=True, **trust
        )
        missing = sorted(loading["missing_keys"])
        if missing and self._config.model_class is None:
            raise ModelError(
                f"{len(missing)} weights are missing from {self._folder.root.name}, the first: {missing[0]}",
                why=f"They would be random in a {type(model).__name__} that passes for a trained one.",
                fix="check that the folder holds the whole model, or take random weights with  --random-init",
            )
        return model

    def _class(self) -> tuple[Any, Any]:
        if self._config.model_class is not None:
            return import_object(self._config.model_class), self._model_config
        if self._config.trust_remote_code and hasattr(self._model_config, "auto_map"):
            return AutoModelForCausalLM, self._model_config
        return language_model(self._model_config)

    def _facts(self, model: Any, *, random_weights: bool) -> ModelFacts:
        described = describe_model(model)
        return ModelFacts(
            name=self._config.model,
            class_name=described.class_name,
            model_type=described.model_type,
            num_parameters=described.num_parameters,
            stand_in=self._stand_in,
            random_weights=random_weights,
            adapter=described.adapter,
            own_tokenizer=self._own_tokenizer,
            accepts_loss_kwargs_declared=described.declared,
            forward_has_kwargs=described.takes_kwargs,
        )

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn whatever transformers raises while it reads into our error."""
        try:
            yield
        except GacheckError:
            raise
        except Exception as error:
            if "trust_remote_code" in str(error) and not self._config.trust_remote_code:
                raise ModelError(
                    f"{self._config.model} needs Python code that lies beside its weights.",
                    why="Such code runs with your rights, so it stays off until you ask for it.",
                    fix="read it, then add  --trust-remote-code, and for a hub model  --revision <that commit>",
                ) from error
            raise ModelError(
                f"The model {self._config.model} cannot be read: {' '.join(str(error).split())[:300]}",
                why="It needs a config.json, weights in safetensors and a tokenizer that this transformers reads.",
                fix="write it again with save_pretrained of model and tokenizer, or upgrade transformers",
            ) from error


def _refuse_foreign_code(name: str, folder: Path) -> None:
    """Refuse a folder that sends transformers to another repository for code: no pin covers that one."""
    for file in (*folder.glob("*config.json"),):
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
    try:
        from peft import PeftModel
    except ImportError:
        raise ModelError(
            f"{folder.name} is an adapter, and peft is not installed.",
            why="peft puts the adapter on its model.",
            fix="pip install peft",
        ) from None
    return PeftModel.from_pretrained(model, folder.path, is_trainable=True)


def _prepare(model_config: Any, config: ExperimentConfig) -> None:
    """Switch dropout off in the config and apply the overrides, which have the last word."""
    silence_config(model_config)
    for key, value in config.config_override.items():
        *path, name = key.split(".")
        if "drop" in name:
            raise ConfigError(
                f"{key!r} cannot be overridden.",
                why="Dropout is off in every pass, so that normalization is all that differs between them.",
                fix="leave it out",
            )
        target = model_config
        for part in path:
            target = getattr(target, part, None)
        if target is None or not hasattr(target, name):
            raise ConfigError(
                f"The config of {config.model} has no field {key!r}.",
                why="An override that changes nothing would mislead.",
                fix=f"see the fields of {type(model_config).__name__} in the transformers documentation",
            )
        try:
            setattr(target, name, value)
        except Exception as error:  # read-only properties, and the type checks of newer releases
            raise ConfigError(
                f"The config of {config.model} takes no {value!r} for {key!r}: {' '.join(str(error).split())[:200]}",
                why="The model would be built with it.",
                fix=f"see the fields of {type(model_config).__name__} in the transformers documentation",
            ) from None
