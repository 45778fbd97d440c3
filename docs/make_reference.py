"""Makes the reference pages from the program itself.

    docs/cli.md      commands, options, defaults and exit codes, from the command-line app
    docs/record.md   record.json, field by field, from the models in gacheck/record/

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
from dataclasses import asdict, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from pydantic import BaseModel
from pydantic.dataclasses import dataclass as pydantic_dataclass
from pydantic.fields import FieldInfo

from gacheck import errors
from gacheck.cli import INTERRUPTED, app
from gacheck.errors import GacheckError
from gacheck.record import parts
from gacheck.record.journal import RECORD_NAME
from gacheck.record.kinds import KINDS

DOCS = Path(__file__).resolve().parent
MADE = "<!-- Made by docs/make_reference.py: run  make reference  instead of editing. -->"
PLAIN = "Options"
EXIT_CODES = (
    ("0", "Fine. A warning too, unless `--strict` is given."),
    ("1", "The verdict fails; with `--strict`, also if it warns. No error ends with 1."),
    ("2", "The command line, the configuration, the input or your own code is wrong."),
    ("3", "Inconclusive. From `gacheck attach`: no Trainer was seen."),
    ("4", "gacheck could not run: memory, disk, download, or a fault of its own."),
    (
        str(INTERRUPTED),
        "Interrupted; by SIGTERM 143, by SIGHUP 129. What was measured is kept, and `--resume` goes on.",
    ),
)
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
        "\n".join(f"- [gacheck {name}](#gacheck-{name}): {_first_line(each)}" for name, each in commands.items())
        + "\n- [Exit codes and errors](#exit-codes-and-errors)",
        "`python -m gacheck` is the same program. Every command has `-h`, `--help`. Without a command:",
        table(("option", "meaning"), [(code(", ".join(p.opts)), p.help) for p in group.params]),
        "Every option of `gacheck run` is also a key of the YAML file, with `_` for `-`. What is given on the command "
        "line takes precedence over the file, and the file over the defaults.",
    ]
    for name, command in commands.items():
        blocks += _command(name, command)
    return "\n\n".join([*blocks, *_exit_codes()]) + "\n"


def _paragraphs(command: Any) -> list[str]:
    # Typer marks in the docstring's end; the docstring itself is the text.
    return [" ".join(part.split()) for part in (inspect.getdoc(command.callback) or "").split("\n\n")]


def _first_line(command: Any) -> str:
    return _paragraphs(command)[0]


def _command(name: str, command: Any) -> Iterator[str]:
    codes = [part for part in _paragraphs(command) if part.startswith("Exit codes:")]
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name != "argument" and not getattr(p, "hidden", False)]
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
        yield table(("option", "value", "meaning", "default"), [_option(command, p) for p in members])
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


def _option(command: Any, parameter: Any) -> Row:
    names = [*parameter.opts, *parameter.secondary_opts]
    value = "" if parameter.is_flag else parameter.metavar or _values(command, parameter)
    return (", ".join(map(code, names)), code(value), *_help(parameter))


def _values(command: Any, parameter: Any) -> str:
    """Read the values off the function's own signature: what Typer makes of it changes from release to release."""
    annotation = inspect.signature(command.callback, eval_str=True).parameters[parameter.name].annotation
    (kind,) = [each for each in get_args(annotation) or (annotation,) if each is not type(None)]
    if issubclass(kind, Enum):
        return "|".join(each.value for each in kind)
    return "INT" if kind is int else "TEXT"


def _help(parameter: Any) -> Row:
    """Return meaning and default; a default that is written into the help goes before the declared one."""
    text = parameter.help or ""
    written = DEFAULT.search(text)
    if written:
        return text[: written.start()], written[1]
    declared = parameter.default
    value = declared.value if isinstance(declared, Enum) else declared
    return text, "" if value in (None, False, ()) or callable(value) else str(value)


def _exit_codes() -> Iterator[str]:
    yield "## Exit codes and errors"
    yield table(("code", "meaning"), list(EXIT_CODES))
    yield (
        "`--exit-zero` gives 0 for every verdict. `gacheck report` ends with 0 once it has shown the record; with "
        "`--exit-code` it ends as the run did. `gacheck selftest` ends with 1 if it misses a planted fault. "
        "`gacheck attach` ends with the training's own exit code, unless `--fail-on` is given."
    )
    yield (
        "An error is one message on stderr, without a traceback: what happened, why it matters, what to do next. "
        "Its kind decides the exit code. An option is called what it was typed as: `--max-steps` on the command line, "
        "the key as it stands in the YAML file, the argument in code."
    )
    yield (
        "An error in code of your own names the function, the line and the option that brought it in: "
        "`Mine.compute_loss raised ValueError: … (mine.py:9), from --trainer-class`. The same stands in the record of "
        "a pass that failed. `--traceback`, before or after the command, shows the traceback whole, that of a failed "
        "pass when it fails; so does `GACHECK_TRACEBACK=1` in the environment."
    )
    yield (
        "A run ends with such an error, code 2 (or 4 for memory), once its first two passes have failed alike: with "
        "the flag on and off at the first k, or at two k where one value of the flag is asked for. What was measured "
        "stays in the record."
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
    """Describe record.json: a section a kind of record, then one for each of the parts, from the outside in."""
    records = list(KINDS.values())
    models = list(dict.fromkeys([*records, *(inner for each in records for inner in models_of(each))]))
    _, *about = (" ".join(part.split()) for part in (inspect.getdoc(parts) or "").split("\n\n"))
    blocks = [
        MADE,
        f"# {RECORD_NAME}",
        "The raw facts of a run, an attached training or a survey, "
        f"schema version {parts.SCHEMA_VERSION}. `gacheck report` reads them; "
        "`gacheck report --format json` gives what follows from them. Both have a JSON Schema: "
        "`gacheck schema record` and `gacheck schema analysis` print it. Keys may be added to either; none is renamed.",
        table(
            ("`kind`", "record", "what it holds"),
            [(code(f'"{kind}"'), json_type(each), _summary(each)) for kind, each in KINDS.items()],
        ),
        "Verdicts are never stored: they are derived each time a record is read, so a better rule table can read an "
        "old record anew.",
        *about,
        "The file is saved after every pass: written to a temporary file beside it, synced to the disk, and renamed "
        "in one operation. A crash at any moment leaves the old or the new one whole. Unknown keys are refused, "
        "and so is what cannot be: a count below 0, a pass that nobody planned or that is there twice, one that failed "
        "without an error.",
        "Secrets and the home folder are taken out when a record is made: `***` and `~` stand in their places.",
        "Schema version 1 is still read; a version newer than this gacheck's is refused. In version 1 "
        "`auto_loss_kwargs` and `chosen_loss_kwargs` were booleans, and an attached training was stored as a run, with "
        "options that nobody had given. Those options are dropped when it is read.",
        "The last key, `checksum`, is the SHA-256 of all bytes before the comma in front of it. Reports say so where "
        "it does not fit or is missing, and `--resume` refuses. It guards against accidents, not against somebody who "
        "computes it anew.",
        "A field that has a default may be absent.",
    ]
    for model in models:
        blocks += [f"## {model.__name__}", _summary(model), _fields(model)]
    # The docstrings speak Python, the file speaks JSON.
    return re.sub(r"\bNone\b", "null", "\n\n".join(blocks)) + "\n"


def models_of(model: type[Any]) -> Iterator[type[Any]]:
    yield model
    for field in _fields_of(model).values():
        for inner in _inner_models(field.annotation):
            yield from models_of(inner)


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
    """Read the strings below the fields, inherited ones too; Python itself throws them away."""
    found: dict[str, str] = {}
    for each in reversed(model.__mro__):
        if _is_model(each) and each is not BaseModel:
            found |= own_docstrings(each)
    return found


def own_docstrings(model: type[Any]) -> dict[str, str]:
    (tree,) = ast.parse(inspect.getsource(model)).body
    assert isinstance(tree, ast.ClassDef)
    return {
        field.target.id: " ".join(str(after.value.value).split())
        for field, after in zip(tree.body, tree.body[1:], strict=False)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(after, ast.Expr)
        and isinstance(after.value, ast.Constant)
    }


def json_type(annotation: Any) -> str:
    """Say in JSON's words what a type is stored as; models are links."""
    if annotation in JSON_TYPES:
        return JSON_TYPES[annotation]
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return " or ".join(code(f'"{each.value}"') for each in annotation)
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
    return code(json.dumps(field.get_default(call_default_factory=True), default=asdict))


PAGES = {"cli.md": cli_page, "record.md": record_page}


def main() -> None:
    """Write the pages."""
    for name, make in PAGES.items():
        (DOCS / name).write_text(make(), encoding="utf-8")
        print(f"docs/{name}", file=sys.stderr)


if __name__ == "__main__":
    main()
