"""The record: round trip, the atomic journal, and what a person is told about a record that cannot be read."""

from __future__ import annotations

import errno
import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gacheck.errors import RecordError, ResourceError
from gacheck.record.journal import RECORD_NAME, load_record, save_record
from gacheck.record.run import RunRecord
from tests.builders import failed_pass, full_run, pass_record, run_record
from tests.core.edits import with_losses


def with_every_float() -> RunRecord:
    losses = iter([math.nan, math.inf, -math.inf, 0.1 + 0.2, 5e-324, 1.7976931348623157e308, -0.0, 1 / 3])
    odd = with_losses(pass_record(8, "on", "token_mean"), lambda i, loss: next(losses))
    return run_record([odd, failed_pass(8, "off", rejects=True)])


def facts(record: RunRecord) -> dict[str, Any]:
    """Return all facts; floats by their repr, so that NaN equals itself and -0.0 differs from 0.0."""
    return json.loads(json.dumps(record.model_dump(mode="python"), default=str), parse_float=str, parse_constant=str)


@pytest.mark.parametrize(
    "record",
    [
        full_run("sum_of_means", "mean_of_means"),
        run_record([]),
        with_every_float(),
        run_record([], config={"max_grad_norm": 0.0, "config_override": {"text_config.x": [1, None, 0.5]}}),
    ],
    ids=["full", "empty", "every float", "overrides"],
)
def test_round_trip(record: RunRecord, tmp_path: Path) -> None:
    path = save_record(record, tmp_path)

    assert path == tmp_path / RECORD_NAME
    assert facts(load_record(path)) == facts(record)
    assert [p.name for p in tmp_path.iterdir()] == [RECORD_NAME]


def test_non_finite_numbers_are_words_in_strict_json(tmp_path: Path) -> None:
    text = save_record(with_every_float(), tmp_path).read_text(encoding="utf-8")

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    content = json.loads(text, parse_constant=refuse)
    losses = [m["reported_loss_nats"] for m in content["passes"][0]["steps"][0]["micro_batches"]]
    assert losses[:3] == ["NaN", "Infinity", "-Infinity"]


@pytest.mark.parametrize("config", [{"max_grad_norm": math.inf}, {"learning_rate": math.nan}], ids=str)
def test_a_config_that_can_be_saved_can_be_read(config: dict[str, float], tmp_path: Path) -> None:
    try:
        record = run_record([], config=config)
    except ValueError:
        return  # refused before anything is measured: as good

    load_record(save_record(record, tmp_path))


def test_folder_or_file(tmp_path: Path) -> None:
    path = save_record(run_record([]), tmp_path)

    assert load_record(path) == load_record(tmp_path)


@pytest.mark.parametrize("failing", ["fsync", "replace"])
@pytest.mark.parametrize(
    ("error", "raised"),
    [(OSError(errno.ENOSPC, "No space left on device"), ResourceError), (KeyboardInterrupt(), KeyboardInterrupt)],
    ids=["disk full", "interrupted"],
)
def test_a_failing_save_leaves_the_old_record_whole(
    failing: str,
    error: BaseException,
    raised: type[BaseException],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    old = save_record(run_record([]), tmp_path).read_bytes()

    def fail(*args: object, **kwargs: object) -> None:
        raise error

    monkeypatch.setattr(os, failing, fail)
    with pytest.raises(raised) as caught:
        save_record(full_run("token_mean", "mean_of_means"), tmp_path)
    if isinstance(caught.value, ResourceError):
        assert caught.value.exit_code == 4
        assert str(tmp_path) in caught.value.what
        assert "No space left on device" in caught.value.what
        assert "--out" in caught.value.fix

    assert (tmp_path / RECORD_NAME).read_bytes() == old
    assert [p.name for p in tmp_path.iterdir()] == [RECORD_NAME]


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match="No such file"):
        save_record(run_record([]), tmp_path / "absent")


def test_a_record_is_as_readable_as_any_other_file(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.touch()

    assert save_record(run_record([]), tmp_path).stat().st_mode == plain.stat().st_mode


def edited(edit: Callable[[dict[str, Any]], object]) -> bytes:
    content = json.loads(run_record([pass_record(2, "on", "token_mean")]).model_dump_json())
    edit(content)
    return json.dumps(content).encode()


UNREADABLE = {
    "empty": (b"", "damaged"),
    "cut off": (edited(lambda c: None)[:-40], "damaged"),
    "not UTF-8": (b'{"kind": "\xff"}', "damaged"),
    "nested too deeply": (b"[" * 100_000, "damaged"),
    "a picture": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "damaged"),
    "a list": (b"[1, 2]", "no record of gacheck"),
    "foreign": (b'{"kind": "trace", "schema_version": 1}', "no record of gacheck"),
    "another kind": (edited(lambda c: c.update(kind="census")), "no record of gacheck"),
    "no kind": (edited(lambda c: c.pop("kind")), "no record of gacheck"),
    "newer": (edited(lambda c: c.update(schema_version=3)), "schema version 3; this gacheck reads 1 to 2"),
    "version 0": (edited(lambda c: c.update(schema_version=0)), "schema version 0"),
    "damaged, of an earlier version": (edited(lambda c: c.update(schema_version=1, attached={})), "damaged"),
    "version is text": (edited(lambda c: c.update(schema_version="x")), "schema version x"),
    "no version": (edited(lambda c: c.pop("schema_version")), "schema version"),
    "no model": (edited(lambda c: c.pop("model")), "damaged at model"),
    "no loss": (
        edited(lambda c: c["passes"][0]["steps"][0]["micro_batches"][1].pop("reported_loss_nats")),
        "damaged at passes.0.steps.0.micro_batches.1.reported_loss_nats",
    ),
    "no oracle": (edited(lambda c: c.pop("oracle")), "damaged at oracle"),
    "a loss is text": (
        edited(lambda c: c["oracle"]["rows"][0].update(sum_nats="much")),
        "damaged at oracle.rows.0.sum_nats",
    ),
    "unknown key": (edited(lambda c: c.update(verdict="OK")), "damaged at verdict"),
    "unknown key in the config": (edited(lambda c: c["config"].update(lr=1)), "damaged at config.lr"),
    "unknown key in the environment": (edited(lambda c: c["environment"].update(os=1)), "damaged at environment.os"),
    "impossible config": (edited(lambda c: c["config"].update(max_steps=0)), "max_steps=0 is out of range"),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_cannot_be_read_is_told(name: str, tmp_path: Path) -> None:
    content, message = UNREADABLE[name]
    path = tmp_path / RECORD_NAME
    path.write_bytes(content)

    with pytest.raises(RecordError) as caught:
        load_record(path)

    error = caught.value
    assert error.exit_code == 2
    assert str(path) in error.what
    assert message in error.what
    assert error.why
    assert error.fix
    assert "pydantic" not in str(error)
    assert "Value error" not in str(error)


@pytest.mark.parametrize("place", ["", "absent.json", "absent/record.json"])
def test_a_missing_record_is_told(place: str, tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="No such file") as caught:
        load_record(tmp_path / place)

    assert caught.value.exit_code == 2
    assert str(tmp_path / (place or RECORD_NAME)) in caught.value.what
