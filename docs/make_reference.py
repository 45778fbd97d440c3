"""Makes the reference pages from the program itself.

    docs/cli.md      commands, options, defaults and exit codes, from the command-line app
    docs/record.md   record.json, field by field, from the models in gacheck/record.py

Nothing is copied from `--help`, whose layout depends on the terminal and on versions of Typer.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
import sys
import types
from collections.abc import Iterator
from dataclasses import is_dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from pydantic import BaseModel
from pydantic.dataclasses import dataclass as pydantic_dataclass
from pydantic.fields import FieldInfo

from gacheck import errors, journal, record
from gacheck.cli import app
from gacheck.errors import GacheckError

DOCS = Path(__file__).resolve().parent
MADE = "<!-- Made by docs/make_reference.py: run  make reference  instead of editing. -->"
PLAIN = "Options"
DEFAULT = re.compile(r"\s*\(default: (.*)\)$")
JSON_TYPES: dict[Any, str] = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "true or false",
    Any: "anything",
    type(None): "null",
}

Row = tuple[str, ...]


def code(text: str) -> str:
    """Set a text in code."""
    return f"`{text}`" if text else ""


def table(header: Row, rows: list[Row]) -> str:
    """Lay out a table; a pipe would end a cell, also in code."""
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join(f"|{'|'.join(map(_cell, cells))}|" for cells in lines)


def _cell(text: str) -> str:
    return f" {text} ".replace("|", "\\|") if text else " "


# docs/cli.md


def cli_page() -> str:
    """Describe every command of the app."""
    group: Any = typer.main.get_command(app)
    commands = dict(group.commands)
    blocks = [
        MADE,
        "# Commands",
        group.help,
        "\n".join(f"- [gacheck {name}](#gacheck-{name}): {_first_line(each)}" for name, each in commands.items()),
        "Every command has `-h`, `--help`. Beside the commands:",
        table(("option", "meaning"), [(code(", ".join(p.opts)), p.help) for p in group.params]),
        "Every option of `gacheck run` is a key of the YAML file too, with `_` for `-`: flags go before the file, "
        "the file before the defaults.",
    ]
    for name, command in commands.items():
        blocks += _command(name, command)
    return "\n\n".join([*blocks, *_errors()]) + "\n"


def _paragraphs(command: Any) -> list[str]:
    # Typer marks in the docstring's end; the docstring itself is the text.
    return [" ".join(part.split()) for part in (inspect.getdoc(command.callback) or "").split("\n\n")]


def _first_line(command: Any) -> str:
    return _paragraphs(command)[0]


def _command(name: str, command: Any) -> Iterator[str]:
    codes = [part for part in _paragraphs(command) if part.startswith("Exit codes:")]
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name != "argument"]
    usage = [f"gacheck {name}", *(["[OPTIONS]"] if options else []), *map(_argument, arguments)]
    yield f"## gacheck {name}"
    yield "    " + " ".join(usage)
    yield from (part for part in _paragraphs(command) if part not in codes)
    if arguments:
        yield "### Arguments"
        yield table(
            ("argument", "meaning", "default"), [(code(p.metavar or p.name.upper()), *_help(p)) for p in arguments]
        )
    for panel, members in _panels(options).items():
        yield f"### {panel}"
        yield table(("option", "value", "meaning", "default"), [_option(p, _choices(command, p)) for p in members])
    if codes:
        yield "### Exit codes"
        parts = [part.strip(" .").partition(" ") for part in codes[0].removeprefix("Exit codes:").split(" · ")]
        yield table(("code", "meaning"), [(number, text) for number, _, text in parts])


def _argument(parameter: Any) -> str:
    name = parameter.metavar or parameter.name.upper()
    return name if parameter.required else f"[{name}]"


def _panels(options: list[Any]) -> dict[str, list[Any]]:
    panels: dict[str, list[Any]] = {}
    for parameter in options:
        panels.setdefault(getattr(parameter, "rich_help_panel", None) or PLAIN, []).append(parameter)
    return panels


def _option(parameter: Any, choices: list[str]) -> Row:
    names = [*parameter.opts, *parameter.secondary_opts]
    value = "" if parameter.is_flag else parameter.metavar or "|".join(choices) or "TEXT"
    return (", ".join(map(code, names)), code(value), *_help(parameter))


def _choices(command: Any, parameter: Any) -> list[str]:
    """Read the choices off the function's own signature: what Typer makes of it changes from release to release."""
    annotation = inspect.signature(command.callback, eval_str=True).parameters[parameter.name].annotation
    return [each.value for each in annotation] if isinstance(annotation, type(Enum)) else []


def _help(parameter: Any) -> Row:
    """Return meaning and default; a default that is written into the help goes before the declared one."""
    text = parameter.help or ""
    written = DEFAULT.search(text)
    if written:
        return text[: written.start()], written[1]
    declared = parameter.default
    value = declared.value if isinstance(declared, Enum) else declared
    return text, "" if value in (None, False, ()) or callable(value) else str(value)


def _errors() -> Iterator[str]:
    yield "## Errors"
    yield (
        "An error is one message on stderr, without a traceback: what happened, why it matters, what to do. "
        "The exit code follows from its kind. 130 is an interruption."
    )
    found = [
        each
        for each in vars(errors).values()
        if isinstance(each, type) and issubclass(each, GacheckError) and each is not GacheckError
    ]
    rows = [(code(each.__name__), str(each.exit_code), _summary(each)) for each in found]
    yield table(("error", "exit code", "meaning"), rows)


def _summary(described: Any) -> str:
    return " ".join((inspect.getdoc(described) or "").split("\n\n")[0].split())


# docs/record.md


def record_page() -> str:
    """Describe record.json, a section a model, from the outside in."""
    models = list(dict.fromkeys(_models(record.RunRecord)))
    _, *about = (" ".join(part.split()) for part in (inspect.getdoc(record) or "").split("\n\n"))
    blocks = [
        MADE,
        f"# {journal.RECORD_NAME}",
        f"The raw facts of a run, schema version {record.SCHEMA_VERSION}. `gacheck report` reads them; "
        "`gacheck report --format json` gives what follows from them.",
        *about,
        "It is saved after every pass: to a temporary file beside it, which is synced to the disk and then takes its "
        "place in one operation. A crash at any moment leaves the old or the new one whole. "
        "Unknown keys are refused, and so is a newer schema version.",
        "A field that has a default may be absent.",
    ]
    for model in models:
        blocks += [f"## {model.__name__}", _summary(model), _fields(model)]
    # The docstrings speak Python, the file speaks JSON.
    return re.sub(r"\bNone\b", "null", "\n\n".join(blocks)) + "\n"


def _models(model: type[Any]) -> Iterator[type[Any]]:
    yield model
    for field in _fields_of(model).values():
        for inner in _inner_models(field.annotation):
            yield from _models(inner)


def _fields_of(model: type[Any]) -> dict[str, FieldInfo]:
    """Return the fields of a model, or of a dataclass as pydantic reads it."""
    fields: dict[str, FieldInfo] = (
        model.model_fields
        if issubclass(model, BaseModel)
        else pydantic_dataclass(frozen=True)(model).__pydantic_fields__
    )
    return fields


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and (issubclass(annotation, BaseModel) or is_dataclass(annotation))


def _inner_models(annotation: Any) -> Iterator[type[Any]]:
    if _is_model(annotation):
        yield annotation
    for argument in get_args(annotation):
        yield from _inner_models(argument)


def _fields(model: type[Any]) -> str:
    meanings = attribute_docstrings(model)
    rows = [
        (code(name), json_type(field.annotation), field.description or meanings.get(name, ""), _default(field))
        for name, field in _fields_of(model).items()
    ]
    header = ("field", "type", "meaning", "default")
    has_default = any(row[-1] for row in rows)
    return table(header, rows) if has_default else table(header[:-1], [row[:-1] for row in rows])


def attribute_docstrings(model: type[Any]) -> dict[str, str]:
    """Read the strings below the fields; Python itself throws them away."""
    (tree,) = ast.parse(inspect.getsource(model)).body
    assert isinstance(tree, ast.ClassDef)
    found = {}
    for field, after in zip(tree.body, tree.body[1:], strict=False):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(after, ast.Expr)
            and isinstance(after.value, ast.Constant)
        ):
            found[field.target.id] = " ".join(str(after.value.value).split())
    return found


def json_type(annotation: Any) -> str:
    """Say in JSON's words what a type is stored as; models are links."""
    if annotation in JSON_TYPES:
        return JSON_TYPES[annotation]
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return json_type(arguments[0])
    if origin is Literal:
        return " or ".join(code(f'"{each}"') for each in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(map(json_type, arguments))
    if origin is tuple:
        return _tuple(arguments)
    if origin is dict:
        return f"object: {json_type(arguments[0])} → {json_type(arguments[1])}"
    if _is_model(annotation):
        return f"[{annotation.__name__}](#{annotation.__name__.lower()})"
    raise TypeError(f"{annotation!r} has no name in JSON yet")


def _tuple(arguments: tuple[Any, ...]) -> str:
    if arguments[-1] is Ellipsis:
        return f"list of {json_type(arguments[0])}"
    return f"list of {len(arguments)}: {', '.join(map(json_type, arguments))}"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return ""
    return code(json.dumps(field.get_default(call_default_factory=True)))


PAGES = {"cli.md": cli_page, "record.md": record_page}


def main() -> None:
    """Write the pages."""
    for name, make in PAGES.items():
        (DOCS / name).write_text(make(), encoding="utf-8")
        print(f"docs/{name}", file=sys.stderr)


if __name__ == "__main__":
    main()
