"""Makes the JSON Schemas that are shipped from the program's own types.

    gacheck/schemas/record.json     record.json, from the models in gacheck/record/
    gacheck/schemas/analysis.json   gacheck report --format json, from the types in gacheck/reporters/document.py
    gacheck/schemas/comparison.json gacheck compare --json, from the types in gacheck/reporters/comparison/document.py

Keys that a schema does not name are allowed: they may be added.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
import sys
import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NotRequired, Union, get_args, get_origin

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

sys.path.insert(0, str(Path(__file__).resolve().parent))
from make_reference import attribute_docstrings, models_of, own_docstrings

from gacheck.record.checksum import KEY
from gacheck.record.kinds import KINDS, AnyRecord
from gacheck.record.parts import SCHEMA_VERSION
from gacheck.reporters import document, survey_document
from gacheck.reporters.comparison.document import ComparisonDocument

SCHEMAS_FOLDER = Path(__file__).resolve().parents[1] / "gacheck" / "schemas"

Schema = dict[str, Any]


def head(name: str, title: str, description: str) -> Schema:
    """Begin a schema."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:gacheck:schema:{name}:{SCHEMA_VERSION}",
        "title": title,
        "description": description,
    }


def words(text: str | None) -> str:
    """Return a docstring on one line, in JSON's words."""
    return re.sub(r"\bNone\b", "null", " ".join((text or "").split("\n\n")[0].split()))


# record.json

_CHECKSUM = {
    "type": "string",
    "pattern": "^[0-9a-f]{64}$",
    "description": "SHA-256 of all bytes before the comma in front of this key, which is the last.",
}


class _RecordSchema(GenerateJsonSchema):
    """Numbers that are not finite are stored as strings."""

    def float_schema(self, schema: Any) -> Schema:
        return {"anyOf": [{"type": "number"}, {"enum": ["NaN", "Infinity", "-Infinity"]}]}

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False  # it would only repeat the field's name


def record_schema() -> Schema:
    """Describe record.json of any kind."""
    made = TypeAdapter(AnyRecord).json_schema(schema_generator=_RecordSchema)
    parts = _plain(made["$defs"])
    for model in {each for record in KINDS.values() for each in models_of(record)}:
        _describe(parts[model.__name__], model)
    for kind, record in KINDS.items():
        part = parts[record.__name__]
        part["properties"] |= {"kind": {"const": kind}, "schema_version": {"const": SCHEMA_VERSION}, KEY: _CHECKSUM}
        # They have defaults in the program; a file says what it is.
        part["required"] = ["kind", "schema_version", *part["required"]]
    return {
        **head("record", "record.json of gacheck", "The raw facts of a run, an attached training or a survey."),
        "oneOf": [{"$ref": f"#/$defs/{record.__name__}"} for record in KINDS.values()],
        "$defs": parts,
    }


def _plain(value: Any) -> Any:
    """Take out what is the command line's, and that other keys are refused: gacheck does that, others need not."""
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if not isinstance(value, dict):
        return value
    dropped = {"panel", "short"} | ({"additionalProperties"} if value.get("additionalProperties") is False else set())
    return {key: _plain(each) for key, each in value.items() if key not in dropped}


def _describe(part: Schema, model: type[Any]) -> None:
    part["description"] = words(inspect.getdoc(model))
    for name, text in attribute_docstrings(model).items():
        if name in part["properties"]:
            part["properties"][name]["description"] = words(text)


# The analysis


def analysis_schema() -> Schema:
    """Describe what `gacheck report --format json` prints."""
    parts: dict[str, Schema] = {}
    kinds = (document.Document, survey_document.SurveyDocument)
    for each in kinds:
        _type(each, parts)
        parts[each.__name__]["properties"]["schema_version"] = {"const": SCHEMA_VERSION}
    description = "Of a training, or of a survey. What was not measured, or is not finite, is null."
    one_of = [{"$ref": f"#/$defs/{each.__name__}"} for each in kinds]
    return {
        **head("analysis", "The analysis of gacheck", description),
        "oneOf": one_of,
        "$defs": dict(sorted(parts.items())),
    }


# A comparison


def comparison_schema() -> Schema:
    """Describe what `gacheck compare --json` prints."""
    parts: dict[str, Schema] = {}
    root = _object(ComparisonDocument, parts)
    root["properties"] |= {"kind": {"const": "comparison"}, "schema_version": {"const": SCHEMA_VERSION}}
    description = f"{root.pop('description')} What was not measured, or is not finite, is null."
    return {**head("comparison", "A comparison of gacheck", description), **root, "$defs": dict(sorted(parts.items()))}


def _object(made: Any, parts: dict[str, Schema]) -> Schema:
    meanings = _meanings(made)
    properties, required = {}, []
    for name, hint in typing.get_type_hints(made, include_extras=True).items():
        is_optional = get_origin(hint) is NotRequired
        properties[name] = _type(get_args(hint)[0] if is_optional else hint, parts)
        if name in meanings:
            properties[name]["description"] = words(meanings[name])
        if not is_optional:
            required.append(name)
    return {"description": words(made.__doc__), "type": "object", "properties": properties, "required": required}


def _meanings(made: Any) -> dict[str, str]:
    """Read the strings below the keys, those of the types that it extends too, which the source alone names."""
    tree = ast.parse(inspect.getsource(made)).body[0]
    assert isinstance(tree, ast.ClassDef)
    bases = [getattr(document, each.id, None) for each in tree.bases if isinstance(each, ast.Name)]
    # One that was made by a call has no strings.
    extended = [_meanings(each) for each in bases if typing.is_typeddict(each) and not each.__name__.startswith("_")]
    return {name: text for each in (*extended, own_docstrings(made)) for name, text in each.items()}


_SIMPLE = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}


def _type(hint: Any, parts: dict[str, Schema]) -> Schema:
    if hint in _SIMPLE:
        return {"type": _SIMPLE[hint]}
    if typing.is_typeddict(hint):
        if hint.__name__ not in parts:
            parts[hint.__name__] = _object(hint, parts)
        return {"$ref": f"#/$defs/{hint.__name__}"}
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin is list:
        return {"type": "array", "items": _type(arguments[0], parts)}
    if origin is dict:
        return {"type": "object", "additionalProperties": _type(arguments[1], parts)}
    if origin in (Union, types.UnionType):
        if all(each in _SIMPLE for each in arguments):
            return {"type": [_SIMPLE[each] for each in arguments]}
        return {"anyOf": [_type(each, parts) for each in arguments]}
    raise TypeError(f"{hint!r} has no schema yet")


SCHEMAS: dict[str, Callable[[], Schema]] = {
    "record.json": record_schema,
    "analysis.json": analysis_schema,
    "comparison.json": comparison_schema,
}


def text_of(name: str) -> str:
    """Return the file's text."""
    return json.dumps(SCHEMAS[name](), indent=1, ensure_ascii=False) + "\n"


def main() -> None:
    """Write the files."""
    for name in SCHEMAS:
        (SCHEMAS_FOLDER / name).write_text(text_of(name), encoding="utf-8")
        print(f"gacheck/schemas/{name}", file=sys.stderr)


if __name__ == "__main__":
    main()
