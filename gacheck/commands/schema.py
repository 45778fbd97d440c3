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
    COMPARISON = "comparison"


def schema(
    document: Document = typer.Argument(
        ...,
        metavar="DOCUMENT",
        help="record: record.json; analysis: what gacheck report --format json prints; "
        "comparison: what gacheck compare --json prints",
    ),
) -> None:
    """Print the JSON Schema of record.json, of the analysis as JSON, or of a comparison.

    Example: gacheck schema analysis
    """
    write_out((files("gacheck") / "schemas" / f"{document}.json").read_bytes())
