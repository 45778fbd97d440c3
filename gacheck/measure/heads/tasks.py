"""Which class of transformers trains for which task: read from its auto classes, none is named here.

A task is called as its auto class is: AutoModelForTokenClassification makes the heads of `token-classification`.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import cache
from typing import Any

import transformers

from gacheck.rules.task import CAUSAL_LM

PREFIX = "AutoModelFor"

# What belongs to several tasks is of the one that comes first here; after these in any order, and these last.
FIRST = ("causal-lm", "seq2seq-lm", "speech-seq2seq", "masked-lm")
LAST = ("pre-training", "multimodal-lm")

WITHOUT_LABELS = ("pre-training", "masked-image-modeling")
"""Tasks some of whose losses need no labels."""

# What a loss is computed from besides the inputs. What a prompt says of its points is called input_labels.
LABELS = re.compile(r"(?!input_)(.*_)?labels?|(start|end)_positions|(future|target)_values|return_loss|actions")

_WORD = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


@cache
def auto_classes() -> dict[str, Any]:
    """Return the auto classes with a head by their tasks' names, in the order in which a class is looked for."""
    names = [name for name in dir(transformers) if name.startswith(PREFIX)]
    found = {task_name(name): auto for name in names if (auto := getattr(transformers, name, None)) is not None}
    found = {name: auto for name, auto in found.items() if hasattr(auto, "_model_mapping")}
    middle = sorted(name for name in found if name not in (*FIRST, *LAST))
    return {name: found[name] for name in (*FIRST, *middle, *LAST) if name in found}


def task_name(auto_name: str) -> str:
    """Return `token-classification` of `AutoModelForTokenClassification`."""
    return _WORD.sub("-", auto_name.removeprefix(PREFIX)).lower()


def task_of(class_name: str) -> str | None:
    """Return the task that a class of transformers is made for; where no auto class makes it, the one of its name.

    None where it is called after none either.
    """
    made = next((task for task, auto in auto_classes().items() if class_name in _class_names(auto)), None)
    _, _, called = class_name.rpartition("For")
    named = task_name(called) if called != class_name else None
    return made or (named if named in auto_classes() else None)


def takes_labels(names: Collection[str]) -> bool:
    """Whether a forward with these arguments is handed what its loss needs."""
    return any(LABELS.fullmatch(name) for name in names)


def class_for(task: str, config_class: type) -> Any:
    """Return the class that a task's auto class makes of a config; None where it makes none."""
    mapping = auto_classes()[task]._model_mapping
    if config_class not in mapping:
        return None
    found = mapping[config_class]
    return found[0] if isinstance(found, tuple) else found


def class_names(task: str) -> list[str]:
    """Return the names of the classes that a task's auto class makes, in order."""
    return sorted(_class_names(auto_classes()[task]))


@cache
def _class_names(auto: Any) -> frozenset[str]:
    names = auto._model_mapping._model_mapping.values()
    return frozenset(each for value in names for each in ((value,) if isinstance(value, str) else value))


def is_causal(task: str) -> bool:
    """Whether it is the task of the oracle: its right answer is computed from logits of every row by itself."""
    return task == CAUSAL_LM.name
