"""The CSV: one row per pass and step, numbers that come back bit by bit, and no formula from outside."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import replace

import pytest

from gacheck.record.run import RunRecord
from gacheck.reporters.csv_report import COLUMNS, render_csv
from gacheck.words.analysis import analyse
from tests.builders import failed_pass, run_record
from tests.reporters.cases import RECORDS, TAIL_NOT_RUN


def rows_of(record: RunRecord) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(render_csv(analyse(record)))))


def failed_with(message: str) -> RunRecord:
    """A run whose model's name and whose only error are `message`."""
    record = run_record([failed_pass(1, "on")])
    failed = record.passes[0]
    assert failed.error is not None
    error = failed.error.model_copy(update={"kind": message, "message": message})
    model = record.model.model_copy(update={"name": message, "class_name": message})
    return record.model_copy(
        update={"model": model, "passes": (failed.model_copy(update={"id": message, "error": error}),)}
    )


@pytest.mark.parametrize("name", RECORDS)
def test_every_row_is_full(name: str) -> None:
    record = RECORDS[name]
    text = render_csv(analyse(record))
    lines = list(csv.reader(io.StringIO(text)))

    assert lines[0] == list(COLUMNS)
    assert {len(line) for line in lines} == {len(COLUMNS)}
    assert len(lines) - 1 == sum(max(1, len(p.steps)) for p in record.all_passes) + len(record.missing)
    assert len(text.splitlines()) == len(lines)
    assert not {"nan", "inf", "-inf", "None"} & {cell for line in lines for cell in line}


def test_numbers_come_back_bit_by_bit() -> None:
    analysis = analyse(RECORDS["scaled"])
    rows = list(csv.DictReader(io.StringIO(render_csv(analysis))))

    first = {p.id: p for p in analysis.passes}
    for row in rows:
        figures = first[row["pass"]]
        step = figures.steps[int(row["step"]) - 1]
        assert float(row["reported_loss"]) == step.reported_loss
        assert float(row["grad_norm"]) == step.grad_norm
        if row["step"] == "1":
            assert float(row["ratio"]) == figures.ratio
            assert float(row["reference_loss"]) == figures.reference_loss
    # k=2: means 302/60 and 213/40, summed.
    assert float(rows[2]["reported_loss"]) == pytest.approx(302 / 60 + 213 / 40)
    assert [rows[2][c] for c in ("pass", "rule", "backward_rule", "verdict")] == [
        "k2-on",
        "sum_of_means",
        "sum_of_means",
        "SCALED_BY_ACCUMULATION",
    ]


def test_the_first_step_alone_has_a_reference() -> None:
    rows = rows_of(RECORDS["scaled"])

    assert {bool(row["reference_loss"]) for row in rows if row["step"] == "1"} == {True}
    later = [row for row in rows if row["step"] == "2"]
    assert later
    assert {row[column] for row in later for column in ("reference_loss", "ratio", "grad_norm_ratio")} == {""}


def test_not_finite_is_empty_and_said() -> None:
    first, *_ = rows_of(RECORDS["nan"])

    assert (first["reported_loss"], first["grad_norm"], first["ratio"]) == ("", "", "")
    assert (first["status"], first["nonfinite"]) == ("ok", "true")
    assert math.isfinite(float(first["reference_loss"]))


def test_what_has_not_run_is_skipped() -> None:
    rows = rows_of(RECORDS["partial"])

    assert [row["pass"] for row in rows if row["status"] == "skipped"] == ["k2-off", "k4-off", "k8-off"]
    assert {row["run_complete"] for row in rows} == {"false"}
    assert [row["pass"] for row in rows_of(TAIL_NOT_RUN) if row["status"] == "skipped"] == ["k4-on-tail", "k4-off-tail"]
    assert {row["run_complete"] for row in rows_of(RECORDS["scaled"])} == {"true"}


def test_a_tail_that_ran_has_its_rows() -> None:
    rows = {row["pass"]: row for row in rows_of(RECORDS["tail"])}

    assert (rows["k4-off-tail"]["status"], rows["k4-off-tail"]["rule"]) == ("ok", "short_step_over_k")
    assert float(rows["k4-off-tail"]["ratio"]) < 1
    assert (rows["k4-on-tail"]["status"], rows["k4-on-tail"]["error"]) == (
        "failed",
        "OutOfMemoryError: out of memory",
    )


@pytest.mark.parametrize("start", ["=", "+", "-", "@", " =", "＝"])
def test_a_formula_is_text(start: str) -> None:
    row, *_ = rows_of(failed_with(f'{start}HYPERLINK("http://x","y")'))

    for column in ("model", "class", "pass", "error"):
        assert row[column].startswith("'" + start), column


@pytest.mark.parametrize("text", ["a,b", 'a"b', "a;b\tc"])
def test_separators_stay_in_their_cell(text: str) -> None:
    row, *_ = rows_of(failed_with(text))

    assert row["model"] == text.replace("\t", "\\t")


def test_a_number_below_zero_is_no_formula() -> None:
    record = RECORDS["one pass"].model_copy(deep=True)
    step = record.passes[0].steps[0]
    negative = tuple(replace(m, reported_loss_nats=-1.0) for m in step.micro_batches)
    steps = (replace(step, micro_batches=negative),)
    passes = (record.passes[0].model_copy(update={"steps": steps}),)

    assert rows_of(record.model_copy(update={"passes": passes}))[0]["reported_loss"] == "-4.0"
