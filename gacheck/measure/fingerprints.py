"""Fingerprints of what a run is of: the model's weights and config, and the sources of the user's own code."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from gacheck.config import USER_OBJECTS, ExperimentConfig
from gacheck.frames import is_own
from gacheck.record.run import Fingerprints
from gacheck.watch.spread import whole

# Fields of a config that say where it came from, not what the model does.
_ORIGIN = frozenset({"_name_or_path", "name_or_path", "transformers_version", "_commit_hash"})


def fingerprints_of(model: torch.nn.Module, config: ExperimentConfig) -> Fingerprints:
    """Take the fingerprints of a run; where weights are spread over several processes all have to do it together.

    Args:
        model: As it is before the first pass.
        config: The experiment; its code is loaded.
    """
    return Fingerprints(
        weights=_of_weights(model),
        config=_of_fields(getattr(model, "config", None)),
        code=_of_code(config),
    )


def _of_weights(model: torch.nn.Module) -> str:
    digest = hashlib.sha256()
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        # Tensor by tensor: a copy of the whole model may not fit.
        digest.update(whole(tensor.detach()).reshape(-1).contiguous().view(torch.uint8).cpu().numpy().data)
    return digest.hexdigest()


def _of_fields(model_config: Any) -> str:
    fields = model_config.to_dict() if hasattr(model_config, "to_dict") else {}
    return hashlib.sha256(json.dumps(_plain(fields), sort_keys=True).encode()).hexdigest()


def _plain(value: object) -> object:
    """Return what JSON can write, the same in every process: no addresses, no order of a set."""
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items() if name not in _ORIGIN}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if isinstance(value, (set, frozenset)):
        return sorted(map(str, value))
    if value is None or isinstance(value, (str, int, float)):
        return value
    return str(value) if isinstance(value, torch.dtype) else type(value).__name__


def _of_code(config: ExperimentConfig) -> dict[str, str]:
    """Hash the sources of the user's own modules that are loaded, where an option brought any in."""
    named = {path.partition(":")[0] for name in USER_OBJECTS if (path := getattr(config, name)) is not None}
    if not named and not config.trust_remote_code:
        return {}
    files = {name: _source(module) for name, module in sys.modules.copy().items() if name != "__main__"}
    return {
        name: hashlib.sha256(file.read_bytes()).hexdigest()
        for name, file in sorted(files.items())
        if file is not None and (name in named or is_own(name, str(file)))
    }


def _source(module: ModuleType | None) -> Path | None:
    file = getattr(module, "__file__", None)
    path = Path(file) if isinstance(file, str) else None
    return path if path is not None and path.is_file() else None
