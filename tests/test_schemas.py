"""The shipped JSON Schemas hold of what the program writes, and are able not to."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from gacheck.cli import main
from gacheck.record.journal import load_record
from gacheck.record.kinds import AnyTrainingRecord
from gacheck.reporters.comparison.document import render_document
from gacheck.reporters.document import Environment
from gacheck.reporters.json_report import render_json
from gacheck.rules.facts import PACKAGES
from gacheck.words.analysis import analyse
from tests.makers import load_maker
from tests.reporters.cases import RECORDS
from tests.reporters.comparison_cases import COMPARISONS

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "gacheck" / "schemas"
EARLIER = {
    f"version 1, {kind}": load_record(ROOT / "tests/record/version_1" / f"{kind}.json") for kind in ("run", "attach")
}
# One name in them is no text that JSON could hold.
WRITTEN = {name: record for name, record in {**RECORDS, **EARLIER}.items() if name != "hostile"}


def validator(name: str) -> Any:
    schema = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


OF_RECORD, OF_ANALYSIS, OF_COMPARISON = map(validator, ("record", "analysis", "comparison"))


def stored(record: AnyTrainingRecord) -> Any:
    """Read the record as other programs do."""
    return json.loads(record.model_dump_json())


def test_the_schemas_are_not_stale() -> None:
    maker = load_maker("make_schemas")

    stale = [name for name in maker.SCHEMAS if (FOLDER / name).read_text(encoding="utf-8") != maker.text_of(name)]
    assert stale == [], "run  make reference"
    assert {path.name for path in FOLDER.iterdir()} == set(maker.SCHEMAS)


@pytest.mark.parametrize("name", WRITTEN)
def test_a_record_is_as_its_schema_says(name: str) -> None:
    assert [error.message for error in OF_RECORD.iter_errors(stored(WRITTEN[name]))] == []


@pytest.mark.parametrize("name", {**RECORDS, **EARLIER})
def test_an_analysis_is_as_its_schema_says(name: str) -> None:
    document = json.loads(render_json(analyse({**RECORDS, **EARLIER}[name])))

    assert [error.message for error in OF_ANALYSIS.iter_errors(document)] == []


@pytest.mark.parametrize("name", COMPARISONS)
def test_a_comparison_is_as_its_schema_says(name: str) -> None:
    document = json.loads(render_document(COMPARISONS[name]))

    assert [error.message for error in OF_COMPARISON.iter_errors(document)] == []


def test_numbers_that_are_not_finite_are_words_in_a_record_and_null_in_the_analysis() -> None:
    assert '"NaN"' in json.dumps(stored(RECORDS["nan"]))
    document = json.loads(render_json(analyse(RECORDS["nan"])), parse_constant=pytest.fail)
    assert document["passes"][0]["first_step"]["reported_loss"] is None


def at(document: Any, *path: str | int) -> Any:
    for key in path:
        document = document[key]
    return document


Edit = Callable[[Any], object]

EDITS: dict[str, tuple[Any, Edit]] = {
    "kind": (OF_RECORD, lambda d: d.pop("kind")),
    "no such kind": (OF_RECORD, lambda d: d.update(kind="census")),
    "another version": (OF_RECORD, lambda d: d.update(schema_version=1)),
    "model": (OF_RECORD, lambda d: d.pop("model")),
    "a part of it": (OF_RECORD, lambda d: d["model"].pop("class_name")),
    "a flag": (OF_RECORD, lambda d: d["passes"][0].update(loss_kwargs="auto")),
    "a status": (OF_RECORD, lambda d: d["passes"][0].update(status="skipped")),
    "a number": (
        OF_RECORD,
        lambda d: at(d, "passes", 0, "steps", 0, "micro_batches", 0).update(reported_loss_nats="large"),
    ),
    "verdict": (OF_ANALYSIS, lambda d: d.pop("verdict")),
    "code": (OF_ANALYSIS, lambda d: d["verdict"].pop("code")),
    "severity": (OF_ANALYSIS, lambda d: d["verdict"].update(severity="fatal")),
    "affects": (OF_ANALYSIS, lambda d: d["verdict"].update(affects="nothing")),
    "null in its place": (OF_ANALYSIS, lambda d: d["verdict"].update(remedy=None)),
    "of a pass": (OF_ANALYSIS, lambda d: d["passes"][0].update(status="done")),
    "a key of a pass": (OF_ANALYSIS, lambda d: d["passes"][0]["first_step"].pop("ratio")),
    "class": (OF_ANALYSIS, lambda d: d["model"].pop("class")),
    "text for a number": (OF_ANALYSIS, lambda d: d["tolerance"].update(loss="small")),
    "a package's version": (OF_ANALYSIS, lambda d: d["environment"].update(torch=2.13)),
}


@pytest.mark.parametrize("name", EDITS)
@pytest.mark.parametrize("kind", ["scaled", "attached"])
def test_what_is_wrong_is_found(name: str, kind: str) -> None:
    of, edit = EDITS[name]
    right = stored(RECORDS[kind]) if of is OF_RECORD else json.loads(render_json(analyse(RECORDS[kind])))
    wrong = copy.deepcopy(right)
    edit(wrong)

    assert (of.is_valid(right), of.is_valid(wrong)) == (True, False)


@pytest.mark.parametrize("of", [OF_RECORD, OF_ANALYSIS], ids=["record", "analysis"])
def test_keys_may_be_added(of: Any) -> None:
    right = stored(RECORDS["scaled"]) if of is OF_RECORD else json.loads(render_json(analyse(RECORDS["scaled"])))

    assert of.is_valid({**right, "new": 1, "model": {**right["model"], "new": None}})


def test_every_package_is_a_key_that_may_be_absent() -> None:
    of_environment = OF_ANALYSIS.schema["$defs"]["Environment"]

    assert set(of_environment["properties"]) - set(of_environment["required"]) == set(PACKAGES)
    assert set(PACKAGES) < set(Environment.__annotations__)


@pytest.mark.parametrize("name", ["record", "analysis", "comparison"])
def test_the_command_prints_it(name: str, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["schema", name])

    assert (end.value.code, capfdbinary.readouterr()) == (0, ((FOLDER / f"{name}.json").read_bytes(), b""))


def test_real_output_is_as_the_schemas_say(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    options = ("--effective-batch-size", "4", "-k", "1,2", "--max-steps", "2", "--max-length", "32")
    with pytest.raises(SystemExit):
        main(["run", "--model", "tiny:llama", *options, "--out", str(tmp_path / "run"), "--json"])

    document = json.loads(capfd.readouterr().out)
    assert [error.message for error in OF_ANALYSIS.iter_errors(document)] == []
    written = json.loads((tmp_path / "run" / "record.json").read_text(encoding="utf-8"))
    assert [error.message for error in OF_RECORD.iter_errors(written)] == []
