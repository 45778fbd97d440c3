"""What is wrong with the options, said of each as it was typed: on the command line, in a file, or in code."""

from __future__ import annotations

import difflib
import json
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from gacheck.errors import ConfigError

_OPTION = re.compile(r"\{(\w+)(?:=([^{}]*))?\}")
_SHORT = {"gradient_accumulation_steps": "k"}
K = "gradient_accumulation_steps"
SWITCHED_ON = "!"


class Misuse(ValueError):
    """Options that cannot be used.

    Args:
        what: What is wrong. `{max_steps}` stands for the option, `{max_steps=8}` for the option with a value, and
            `{packing=!}` for one that is switched on, in this text and in the others.
        why: Why nothing can be done with it.
        fix: What to write instead.
    """

    def __init__(self, what: str, *, why: str, fix: str) -> None:
        super().__init__(Spelling.in_code().spell(what))
        self.what = what
        self.why = why
        self.fix = fix


@dataclass(frozen=True)
class Spelling:
    """How the options were typed.

    Attributes:
        file: Where those of `keys` stand.
        keys: Options of the file, and the keys as they stand there.
        code: Whether all others are arguments in code, and not options of the command line.
    """

    file: Path | None = None
    keys: Mapping[str, str] = field(default_factory=dict)
    code: bool = False

    @classmethod
    def in_code(cls) -> Spelling:
        """Return the spelling of arguments."""
        return cls(code=True)

    def spell(self, text: str) -> str:
        """Put the options as they were typed into a text."""
        return _OPTION.sub(lambda found: self._option(found[1], found[2]), text)

    def _option(self, name: str, value: str | None) -> str:
        if name in self.keys:
            key = self.keys[name]
            if name == "config_override" and value is not None:
                value = f"{{{value.replace('=', ': ')}}}"
            return key if value is None else f"{key}: {'true' if value == SWITCHED_ON else value}"
        if self.code:
            return name if value is None else f"{name}={True if value == SWITCHED_ON else value}"
        flag = flag_of(name)
        return flag if value in (None, SWITCHED_ON) else f"{flag} {value}"


def flag_of(name: str) -> str:
    """Return the option of the command line of that name: of k the one that was typed."""
    long = "--" + name.replace("_", "-")
    if name in _SHORT and not any(each.partition("=")[0] == long for each in sys.argv):
        return f"-{_SHORT[name]}"
    return "--json" if name == "json_output" else long


def config_error(error: ValidationError, model: type[BaseModel], spelling: Spelling) -> ConfigError:
    """Say the first problem in words; pydantic's own listing speaks to programmers."""
    first = error.errors()[0]
    found = first.get("ctx", {}).get("error")
    if isinstance(found, Misuse):
        misuse = found
    elif first["type"] == "extra_forbidden":
        misuse = _unknown(str(first["loc"][0]), first["input"], model, spelling)
    else:
        misuse = _wrong_value(first, model)
    what = spelling.spell(misuse.what)
    if spelling.file is not None and any(f"{{{name}" in misuse.what for name in spelling.keys):
        what = f"{spelling.file}: {what}"
    return ConfigError(what, why=spelling.spell(misuse.why), fix=spelling.spell(misuse.fix))


def names_of(model: type[BaseModel]) -> list[str]:
    """Return the names of all options."""
    return [each.alias or name for name, each in model.model_fields.items()]


def _unknown(name: str, value: object, model: type[BaseModel], spelling: Spelling) -> Misuse:
    names = names_of(model)
    key = spelling.keys.get(name, name)
    if isinstance(value, dict) and set(value) & {*names, *_SHORT.values()}:
        fix = f"move what stands below {key!r} to the left margin; every option is a key of its own"
    else:
        close = difflib.get_close_matches(name, names, n=1)
        fix = f"did you mean {close[0]!r}?" if close else f"choose one of  {', '.join(names)}"
    return Misuse(
        f"There is no option {key!r}{f' ({spelling.file})' if spelling.file else ''}.",
        why="An option that is not understood would silently change nothing.",
        fix=fix,
    )


# What pydantic calls a type, and what a person does; the kinds of errors begin with it.
_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "finite": "a number that is not infinite",
    "bool": "true or false",
    "string": "text",
    "dict": "a mapping of fields to values",
    "path": "a path",
}


def _wrong_value(first: Mapping[str, Any], model: type[BaseModel]) -> Misuse:
    alias = str(first["loc"][0]) if first["loc"] else ""
    name = next((key for key, each in model.model_fields.items() if each.alias == alias), alias)
    value, kind = first["input"], first["type"]
    choices = _choices(model, name) if kind in ("literal_error", "enum", "value_error") else []
    if kind == "value_error" and not choices:
        problem = first["msg"].removeprefix("Value error, ")
        return Misuse(f"{{{name}}}: {problem}.", why=_UNREADABLE, fix=f"write  {example_of(model, name)}")
    demanded = (
        f"one of {', '.join(choices)}" if choices else _KINDS.get(kind.partition("_")[0], "something that is not this")
    )
    if value is None or value == "":
        return Misuse(f"{{{name}}} has no value; it takes {demanded}.", why=_UNREADABLE, fix=_advice(model, name, None))
    return Misuse(
        f"{{{name}={_shown(value)}}} cannot be read: it takes {demanded}.",
        why=_UNREADABLE,
        fix=_advice(model, name, value, choices),
    )


_UNREADABLE = "Nothing is measured with an option that is not understood."
_YES_AND_NO = {"true": "on", "yes": "on", "1": "on", "false": "off", "no": "off", "0": "off"}


def _shown(value: object) -> str:
    text = (
        "a mapping" if isinstance(value, dict) else value if isinstance(value, str) else json.dumps(value, default=str)
    )
    text = text.replace("{", "(").replace("}", ")")  # braces are for options
    return text if len(text) <= 60 else f"{text[:60]}…"


def _advice(model: type[BaseModel], name: str, value: object, choices: Iterable[str] = ()) -> str:
    """Return what to write: the value that was meant, where that can be told, or the default."""
    text = str(value).strip().lower()
    near = _YES_AND_NO.get(text) if name == "loss_kwargs" else None
    near = near or next(iter(difflib.get_close_matches(text, choices, n=1)), None)
    if near is None and isinstance(value, (str, float)):
        near = _as_whole(text)
    return f"did you mean  {{{name}={near}}}?" if near else f"write, for example,  {example_of(model, name)}"


def _as_whole(text: str) -> str | None:
    """Return the whole number that something like 1e3 stands for."""
    try:
        number = float(text)
        return str(int(number)) if number == int(number) and abs(number) < 2**53 else None
    except (ValueError, OverflowError):
        return None


_EXAMPLES: dict[str, str] = {
    "effective_batch_size": "16",
    "per_device_train_batch_size": "2",
    "learning_rate": "0.001",
    "dataset": "notes.txt",
    "config_override": "num_hidden_layers=2",
    "model": "tiny:llama",
    "out": "my-run",
    "task": "token-classification",
    "average_tokens": "off",
    "pass_timeout": "600",
    "memory_limit": "8",
    "model_class": "package.module:Class",
    "trainer_class": "package.module:Class",
    "compute_loss_func": "package.module:function",
    "revision": "main",
    "dataset_config": "default",
}


def example_of(model: type[BaseModel], name: str) -> str:
    """Return an option with a value that works, to be spelled."""
    default = model.model_fields[name].default if name in model.model_fields else None
    if name in _EXAMPLES or default is None:
        return f"{{{name}={_EXAMPLES.get(name, '…')}}}"
    if isinstance(default, bool):
        return f"{{{name}={SWITCHED_ON}}}"
    return f"{{{name}={','.join(map(str, default)) if isinstance(default, tuple) else default}}}"


def _choices(model: type[BaseModel], name: str) -> list[str]:
    """Return the values of a field that has few: of a Literal or an enum, or a list of these."""
    arguments: list[Any] = [model.model_fields[name].annotation] if name in model.model_fields else []
    found: list[str] = []
    while arguments:
        each = arguments.pop(0)
        if isinstance(each, type) and issubclass(each, Enum):
            found += [str(member.value) for member in each]
        elif isinstance(each, str):
            found.append(each)
        arguments += get_args(each)
    return found
