"""A record that was edited is told from one that was not: every byte, every digit, every length."""

from __future__ import annotations

import hashlib
import json
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gacheck.cli import main
from gacheck.errors import RecordError
from gacheck.record.checksum import Integrity
from gacheck.record.journal import RECORD_NAME, check_as_written, load_record, save_record
from gacheck.record.kinds import AnyRecord
from gacheck.reporters import reporters
from gacheck.reporters.reporter import View
from gacheck.words.analysis import analyse
from gacheck.words.reading import read_record
from tests.builders import full_run, pass_record, run_record
from tests.reporters.survey_cases import SURVEYS


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return save_record(run_record([pass_record(1, "on", "token_mean")]), tmp_path)


def damaged(content: bytes) -> Iterator[bytes]:
    for at, byte in enumerate(content):
        yield content[:at] + bytes([byte ^ 1 << at % 8]) + content[at + 1 :]
        yield content[:at] + (b" " if byte != 32 else b"\n") + content[at + 1 :]
        yield content[:at]
        yield content[:at] + content[at + 1 :]
        if chr(byte) in string.digits:
            yield content[:at] + str((byte - 47) % 10).encode() + content[at + 1 :]


def test_no_edit_of_a_byte_goes_unnoticed(path: Path) -> None:
    written, accepted, refused = path.read_bytes(), 0, 0
    for content in damaged(written):
        path.write_bytes(content)
        try:
            assert load_record(path).integrity is not Integrity.WHOLE
            accepted += 1
        except RecordError:
            refused += 1
    path.write_bytes(written)

    assert load_record(path).integrity is Integrity.WHOLE
    assert min(accepted, refused) > 100


def test_the_checksum_is_that_of_what_stands_before_it(path: Path) -> None:
    body, _, end = path.read_bytes().rpartition(b',\n "checksum": ')

    assert json.loads(end[:66]) == hashlib.sha256(body).hexdigest()
    assert list(json.loads(path.read_text()))[-1] == "checksum"


def rewritten(path: Path, **change: Any) -> AnyRecord:
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(content | change, indent=1) + "\n", encoding="utf-8")
    return load_record(path)


def test_an_edited_record_is_shown_with_a_note_and_not_resumed(path: Path) -> None:
    edited = rewritten(path, created_at="1970-01-01T00:00:00+00:00")

    assert edited.integrity is Integrity.EDITED
    for name in ("terminal", "json", "markdown", "html"):
        shown = reporters("run")[name].render(read_record(edited), View()).decode()
        assert "edited since it was measured" in " ".join(shown.split())
    with pytest.raises(RecordError, match="was edited since") as caught:
        check_as_written(edited, path.parent)
    assert "--force" in caught.value.fix


def test_without_a_checksum_nothing_can_be_told(path: Path) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    del content["checksum"]
    path.write_text(json.dumps(content, indent=1), encoding="utf-8")

    assert "no checksum" in analyse(load_record(path)).verdict.words.notes[0]  # type: ignore[arg-type]
    with pytest.raises(RecordError, match="has no checksum"):
        check_as_written(load_record(path), path.parent)


def test_a_key_may_stand_once(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('"kind": "run",', '"kind": "run", "kind": "run",', 1), encoding="utf-8")

    with pytest.raises(RecordError, match="the key 'kind' stands twice"):
        load_record(path)


@pytest.mark.parametrize("record", [next(iter(SURVEYS.values())), full_run("token_mean", "token_mean")], ids=type)
def test_an_edited_record_is_said_on_stderr(
    record: AnyRecord, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = save_record(record, tmp_path)
    rewritten(path, created_at="1970-01-01T00:00:00+00:00")

    for command in (["report", str(path)], ["compare", str(path), str(path)]):
        with pytest.raises(SystemExit) as ended:
            main(command)
        assert ended.value.code == 0
        assert f"{path}: The record was edited" in capsys.readouterr().err


def test_what_was_not_edited_has_no_note(tmp_path: Path) -> None:
    record = full_run("sum_of_means", "mean_of_means")
    save_record(record, tmp_path)

    assert (tmp_path / RECORD_NAME).read_bytes().endswith(b'"\n}\n')
    assert analyse(load_record(tmp_path)).verdict.words.notes == analyse(record).verdict.words.notes  # type: ignore[arg-type]
