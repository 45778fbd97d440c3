"""Makes command-line options of the fields of `RunConfig`: one declaration serves flag, YAML key and record."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

import typer
from pydantic.fields import FieldInfo
from typer.models import ArgumentInfo

from gacheck.config import RunConfig


def options_of(names: Iterable[str]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of these `RunConfig` fields; it receives them as keywords, None where not given."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = [p for p in inspect.signature(command, eval_str=True).parameters.values() if p.kind is not p.VAR_KEYWORD]
        made = [_parameter(name, RunConfig.model_fields[name]) for name in names]
        # Help shows arguments first.
        arguments = [p for p in own if isinstance(p.default, ArgumentInfo)]
        parameters = [
            p.replace(kind=p.KEYWORD_ONLY) for p in (*arguments, *made, *(p for p in own if p not in arguments))
        ]
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {p.name: p.annotation for p in parameters}
        return command

    return decorate


def _parameter(name: str, field: FieldInfo) -> inspect.Parameter:
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    name = field.alias or name
    flag = "--" + name.replace("_", "-")
    if field.default is True:
        flag += "/--no-" + name.replace("_", "-")
    is_bool, is_mapping = field.annotation is bool, isinstance(field.default, dict)
    option = typer.Option(
        None,
        *[flag, *([str(extra["short"])] if extra.get("short") else [])],
        help=_help(field),
        rich_help_panel=str(extra["panel"]) if extra.get("panel") else None,
        metavar=None if is_bool else _metavar(field),
        show_default=False,
    )
    annotation: Any = bool | None if is_bool else list[str] | None if is_mapping else str | None
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=option, annotation=annotation)


def _help(field: FieldInfo) -> str:
    description = field.description or ""
    if isinstance(field.default, (bool, dict)) or field.default is None:
        return description
    default = field.default if not isinstance(field.default, tuple) else ",".join(map(str, field.default))
    return f"{description} (default: {default})"


def _metavar(field: FieldInfo) -> str:
    if isinstance(field.default, tuple):
        return "LIST"
    if isinstance(field.default, dict):
        return "KEY=VALUE"
    annotation = str(field.annotation)
    if "Literal" in annotation:
        return "|".join(field.annotation.__args__)  # type: ignore[union-attr]
    return (
        "INT"
        if "int" in annotation
        else "FLOAT"
        if "float" in annotation
        else "PATH"
        if "Path" in annotation
        else "TEXT"
    )
