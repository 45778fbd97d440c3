"""Takes secrets and the home folder out of a record: the one place where that is done.

Whoever makes a record, or a part of one, calls `redacted` on it: from then on there is nothing to hide, in the record,
in what is shown of it, and in every format.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from enum import Enum
from typing import Any, TypeVar

from pydantic import BaseModel

from gacheck.redaction import HIDDEN, names_a_secret, redacted_text

T = TypeVar("T")

# What names a part, and is looked up by that name.
_STRUCTURE = frozenset({"kind", "id", "status", "fingerprint", "fingerprints", "created_at", "unit", "micro_batches"})


def redacted(part: T) -> T:
    """Return a record, or a part of one, without secrets and without the name of the home folder."""
    result: T = _walked(part)
    return result


def _walked(value: Any) -> Any:
    if isinstance(value, str):
        return value if isinstance(value, Enum) else redacted_text(value)
    if isinstance(value, BaseModel):
        changed = {name: new for name in type(value).model_fields if (new := _field(value, name)) is not _UNCHANGED}
        return value.model_copy(update=changed) if changed else value
    if is_dataclass(value) and not isinstance(value, type):
        changed = {f.name: new for f in fields(value) if (new := _field(value, f.name)) is not _UNCHANGED}
        return replace(value, **changed) if changed else value
    if isinstance(value, Mapping):
        return {_walked(key): _walked(each) for key, each in value.items()}
    if isinstance(value, (tuple, list)):
        return type(value)(_words(value))
    return value


_UNCHANGED = object()


def _field(owner: object, name: str) -> Any:
    before = getattr(owner, name)
    if name in _STRUCTURE:
        return _UNCHANGED
    after = _walked(before)
    return _UNCHANGED if after is before or after == before else after


def _words(values: tuple[Any, ...] | list[Any]) -> list[Any]:
    """Return the parts of a list; a word after an option that names a secret is one."""
    result = []
    after_option = False
    for value in values:
        is_word = isinstance(value, str) and not isinstance(value, Enum)
        hide = after_option and is_word and not value.startswith("--")
        result.append(HIDDEN if hide else _walked(value))
        after_option = is_word and names_a_secret(value)
    return result
