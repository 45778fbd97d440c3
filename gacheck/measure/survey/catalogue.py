"""Which classes the installed transformers has to judge, and which of them a person means by a name."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from fnmatch import fnmatchcase

import transformers

from gacheck.errors import ModelError
from gacheck.measure.heads.classes import head_classes
from gacheck.measure.heads.tasks import auto_classes, class_names
from gacheck.measure.models.building import check_task, language_model_types
from gacheck.record.survey import SurveyItem
from gacheck.rules.task import CAUSAL_LM


def find_items(
    names: Sequence[str] = (), task: str | None = None, *, every_head: bool = False, absent_ok: bool = False
) -> list[SurveyItem]:
    """Return what is to be judged, in order: language models by type, then heads by class.

    Args:
        names: Types, classes, or patterns of either as a shell has them; without any, all that the rest allows.
        task: Of this task alone, as its auto class is called.
        every_head: All classes that take labels; otherwise the language models, unless a name is that of a head.
        absent_ok: What matches nothing is an item all the same: why it cannot be judged is then told of it.

    Raises:
        ConfigError: There is no such task.
        ModelError: A name matches nothing.
    """
    if task is not None:
        check_task(task)
        found = heads_of(task)
    else:
        found = language_models() + (heads() if every_head or names else [])
    if not names:
        return found
    meant = {name: _meant(name, found, every_head=every_head) for name in names}
    absent = [name for name, items in meant.items() if not items]
    if absent and not absent_ok:
        raise _absent(absent[0], found)
    chosen = {item.id for items in meant.values() for item in items}
    # In the order of the catalogue, however they were named.
    present = [item for item in found if item.id in chosen]
    return present + [_item(name, task or CAUSAL_LM.name, None, None) for name in absent]


def language_models() -> list[SurveyItem]:
    """Return the language model of every type: its causal LM, else its image-text model on text."""
    return [_item(name, CAUSAL_LM.name, name, made) for name, made in language_model_types().items()]


def heads() -> list[SurveyItem]:
    """Return every other class that takes labels, under the task that it is of."""
    known, types = set(language_model_types().values()), _types()
    return [_item(name, task, types.get(name), name) for name, task in head_classes().items() if name not in known]


def heads_of(task: str) -> list[SurveyItem]:
    """Return the classes of a task; language models by their types."""
    if task == CAUSAL_LM.name:
        return language_models()
    types, labelled = _types(), head_classes()
    return [_item(name, task, types.get(name), name) for name in class_names(task) if name in labelled]


def _types() -> dict[str, str]:
    """Return the first type of each class that an auto class makes."""
    found: dict[str, str] = {}
    for auto in auto_classes().values():
        for model_type, made in auto._model_mapping._model_mapping.items():
            for name in (made,) if isinstance(made, str) else made:
                found.setdefault(name, model_type)
    return found


def _item(name: str, task: str, model_type: str | None, class_name: str | None) -> SurveyItem:
    return SurveyItem(
        name=name, task=task, transformers=transformers.__version__, model_type=model_type, class_name=class_name
    )


def _meant(name: str, items: Sequence[SurveyItem], *, every_head: bool) -> list[SurveyItem]:
    """Return what a name matches: a type means its language model, or all its heads where every head is wanted."""
    found = [item for item in items if _matches(name, item.name) or _matches(name, item.class_name)]
    if every_head or not found:
        found += [item for item in items if _matches(name, item.model_type)]
    return found


def _absent(name: str, items: Sequence[SurveyItem]) -> ModelError:
    known = {each: None for item in items for each in (item.name, item.class_name, item.model_type) if each}
    close = difflib.get_close_matches(name, known, n=3)
    return ModelError(
        f"Nothing that could be judged is called {name!r}.",
        why=f"transformers {transformers.__version__} has no such type or class with a loss.",
        fix=f"did you mean  {' or '.join(close)}?" if close else "gacheck models  lists types, --task TASK classes",
    )


def _matches(pattern: str, name: str | None) -> bool:
    return name is not None and fnmatchcase(name, pattern)
