"""A survey as JSON, in the shape that `survey_document.py` gives, and its rows as CSV."""

from __future__ import annotations

import csv
import io
import json
from typing import cast

from gacheck.record.parts import SCHEMA_VERSION
from gacheck.reporters.csv_report import guard
from gacheck.reporters.document import LossKwargs
from gacheck.reporters.json_report import finite, loss_kwargs
from gacheck.reporters.reporter import SURVEYS, Reporter
from gacheck.reporters.survey_document import SurveyDocument, SurveyedClass, SurveyEnvironment
from gacheck.rules.facts import Flag
from gacheck.words.survey import JudgedRow, SurveyAnalysis


def render_survey_json(analysis: SurveyAnalysis) -> str:
    """Render the contract's document; numbers that are not finite become null."""
    environment = analysis.record.environment
    versions = {name: environment.packages[name] for name in ("torch", "transformers") if name in environment.packages}
    facts = {"gacheck": environment.gacheck, "python": environment.python, "platform": environment.platform}
    document: SurveyDocument = {
        "kind": "survey",
        "schema_version": SCHEMA_VERSION,
        "complete": analysis.record.complete,
        "environment": cast("SurveyEnvironment", facts | versions),
        "rows": [_row(row) for row in analysis.rows],
    }
    return json.dumps(finite(document), indent=1, allow_nan=False) + "\n"


def render_survey_csv(analysis: SurveyAnalysis) -> str:
    """Render a line for every class below a header; what is nested in the JSON is left out."""
    rows = [{name: value for name, value in _row(row).items() if name != "loss_kwargs"} for row in analysis.rows]
    columns = [name for name in SurveyedClass.__annotations__ if name != "loss_kwargs"]
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, lineterminator="\n")
    writer.writeheader()
    for row in finite(rows):
        writer.writerow({name: guard(value) if isinstance(value, str) else value for name, value in row.items()})
    return buffer.getvalue()


def _row(row: JudgedRow) -> SurveyedClass:
    return {
        "name": row.item.name,
        "class": row.class_name,
        "model_type": row.model_type,
        "task": row.item.task,
        "transformers": row.item.transformers,
        "verdict": row.code,
        "severity": row.severity,
        "rule_on": row.rule(Flag.ON),
        "rule_off": row.rule(Flag.OFF),
        "loss_kwargs": _loss_kwargs(row),
        "ratio": row.ratio,
        "accumulation_steps": row.accumulation_steps,
        "loss_location": f"{row.location.file}:{row.location.line}" if row.location else None,
        "seconds": row.seconds,
        "reason": row.reason,
    }


def _loss_kwargs(row: JudgedRow) -> LossKwargs | None:
    return loss_kwargs(row.analysis.flag) if row.analysis else None


REPORTERS = (
    Reporter("json", ".json", False, SURVEYS, lambda analysis, view: render_survey_json(analysis).encode()),
    Reporter("csv", ".csv", False, SURVEYS, lambda analysis, view: render_survey_csv(analysis).encode()),
)
