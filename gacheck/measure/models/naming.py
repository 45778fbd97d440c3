"""What a model's name says without reading anything: a stand-in, a place on the disk, or a hub id. No torch here."""

from __future__ import annotations

import difflib
import re
from pathlib import Path

from gacheck.config import STAND_IN_PREFIX, ExperimentConfig
from gacheck.errors import ConfigError, ModelError
from gacheck.misuse import Spelling

HUB_ID = re.compile(r"[\w-][\w.-]*(/[\w.-]*[\w-])?")
CONFIGS = ("config.json", "adapter_config.json")
OF_A_FOLDER = (".safetensors", ".json", ".bin", ".pt", ".pth", ".gguf", ".ckpt")

_FOLDER = "name a folder written by save_pretrained, or try  gacheck run tiny:gemma3"


def check_name(config: ExperimentConfig) -> None:
    """Refuse what can be no model by its name alone.

    Raises:
        ModelError: There is none of that name.
        ConfigError: An option speaks of a repository, and there is none.
    """
    name = config.model
    if name.startswith(STAND_IN_PREFIX):
        if config.revision is not None or config.trust_remote_code:
            raise _no_repository(config, "A stand-in is made here")
        return
    path = Path(name).expanduser()
    if path.is_dir():
        check_folder(name, path)
        if config.revision is not None:
            raise _no_repository(config, "The folder is read as it is")
    elif path.is_file() or path.name.endswith(OF_A_FOLDER):
        raise _a_file(name, path)
    elif not HUB_ID.fullmatch(name):
        raise _nothing_at(name, path)


def check_folder(name: str, path: Path) -> None:
    """Refuse a folder without a model.

    Raises:
        ModelError: It holds neither a model's config nor an adapter's.
    """
    if any((path / each).is_file() for each in CONFIGS):
        return
    inner = sorted(each.parent for config in CONFIGS for each in path.glob(f"*/{config}"))
    raise ModelError(
        f"There is no model at {name}.",
        why="The folder has no config.json.",
        fix=f"name the folder of one of the models in it, such as  {inner[-1]}" if inner else _FOLDER,
    )


def _no_repository(config: ExperimentConfig, why: str) -> ConfigError:
    option = Spelling().spell("{trust_remote_code}" if config.revision is None else "{revision}")
    return ConfigError(
        f"{option} does not go with {config.model}.",
        why=f"{why}; there is no repository that it could speak of, and it would silently change nothing.",
        fix=f"leave {option} out, or name a hub id",
    )


def _a_file(name: str, path: Path) -> ModelError:
    if not path.exists():
        return _nothing_at(name, path)
    holds = any((path.parent / each).is_file() for each in CONFIGS)
    return ModelError(
        f"{name} is a file; a model is named by its folder.",
        why="Config, weights and tokenizer lie in it side by side.",
        fix=f"write  gacheck run {path.parent}" if holds else _FOLDER,
    )


def _nothing_at(name: str, path: Path) -> ModelError:
    if name.lower().startswith(STAND_IN_PREFIX):
        return ModelError(
            f"There is no model at {name}.", why="A stand-in is written small.", fix=f"did you mean  {name.lower()}?"
        )
    try:
        beside = [each.name for each in path.parent.iterdir() if each.is_dir()]
    except OSError:
        beside = []
    close = difflib.get_close_matches(path.name, beside, n=1)
    return ModelError(
        f"There is no model at {name}.",
        why="It is neither a stand-in (tiny:TYPE), nor a folder here, nor of the form of a model id.",
        fix=f"did you mean  {path.parent / close[0]}?" if close else _FOLDER,
    )
