"""The index of a model's weights: it may name files in safetensors alone."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from gacheck.errors import ModelError, one_line

PLAIN_NAME = re.compile(r"[^/\\]+\.safetensors")


def check_indexes(folder: Path) -> None:
    """Refuse a folder one of whose indexes names anything but a file in safetensors beside it.

    transformers reads every file that an index names, and one with another suffix by `torch.load`, which runs pickles.

    Raises:
        ModelError: An index names such a file, or is none.
    """
    for path in sorted(folder.rglob("*.safetensors.index.json")):
        for name in _names(path):
            if not isinstance(name, str) or not PLAIN_NAME.fullmatch(name):
                raise ModelError(
                    f"{path} names {str(name)[:80]!r} as a file of weights.",
                    why="transformers would read it, outside safetensors as a pickle, which can run code.",
                    fix="use a copy of the model whose index names *.safetensors in the same folder alone",
                )


def _names(path: Path) -> list[Any]:
    """Return every file that an index names."""
    try:
        return list(json.loads(path.read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, ValueError, RecursionError, LookupError, TypeError, AttributeError) as error:
        raise ModelError(
            f"{path} cannot be read: {type(error).__name__}: {one_line(error)}.",
            why="It says in which files the weights are.",
            fix="save the model again with save_pretrained",
        ) from None
