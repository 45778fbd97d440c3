"""`gacheck schema`: the JSON Schemas that are shipped with the package."""

from __future__ import annotations

from enum import StrEnum
from importlib.resources import files

import typer

from gacheck.commands.output import write_out


class Document(StrEnum):
    """What has a schema."""

    RECORD = "record"
    ANALYSIS = "analysis"


def schema(
    document: Document = typer.Argument(
        ..., metavar="DOCUMENT", help="record: record.json of a run; analysis: what gacheck report --format json prints"
    ),
) -> None:
    """Print the JSON Schema of record.json, or of the analysis as JSON.

    Example: gacheck schema analysis
    """
    write_out((files("gacheck") / "schemas" / f"{document}.json").read_bytes())
