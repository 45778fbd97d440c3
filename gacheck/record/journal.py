"""Keeps a record on disk: written whole or not at all, and read with an answer to whatever may be wrong with it."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from gacheck.errors import ConfigError, RecordError, ResourceError
from gacheck.record.checksum import KEY, Integrity, integrity_of, sealed
from gacheck.record.earlier import from_version_1
from gacheck.record.kinds import KINDS, AnyRecord
from gacheck.record.parts import SCHEMA_VERSION, Record
from gacheck.record.run import RunRecord
from gacheck.record.survey import SurveyRecord
from gacheck.record.writing import write_whole

RECORD_NAME = "record.json"


def save_record(record: Record, folder: Path) -> Path:
    """Write `folder`/record.json so that a crash at any moment leaves the old or the new one whole.

    Raises:
        ResourceError: The disk is full or the folder cannot be written.
    """
    path = folder / RECORD_NAME
    try:
        write_whole(path, sealed(record.model_dump_json(indent=1)).encode())
    except OSError as error:
        raise ResourceError(
            f"The record could not be saved in {folder}: {error.strerror}.",
            why="What was measured since the last save would be lost.",
            fix="free some space or choose another folder with --out; then add --resume",
        ) from error
    return path


def load_record(path: Path) -> AnyRecord:
    """Read a record of any kind from its file or its folder.

    Raises:
        RecordError: It is missing, damaged, foreign or newer than this gacheck.
    """
    path = path / RECORD_NAME if path.is_dir() else path
    content, integrity = _content(path)
    version = content.get("schema_version")
    if type(version) is not int or not 1 <= version <= SCHEMA_VERSION:
        raise RecordError(
            f"{path} has schema version {version}; this gacheck reads 1 to {SCHEMA_VERSION}.",
            why="A newer gacheck wrote it, or it was edited.",
            fix="upgrade gacheck",
        )
    try:
        if version == 1:
            content = from_version_1(content)
        record = KINDS[content["kind"]].model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = f" at {'.'.join(map(str, first['loc']))}" if first["loc"] else ""
        problem = first["msg"].removeprefix("Value error, ").removesuffix(".")
        raise RecordError(
            f"{path} is damaged{place}: {problem}.", why="What it says cannot have been measured.", fix=_AGAIN
        ) from None
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise RecordError(
            f"{path} is damaged: {error} is missing or no fact.", why="An earlier gacheck wrote it.", fix=_AGAIN
        ) from None
    assert isinstance(record, AnyRecord)
    record.mark(integrity)
    return record


def load_run(folder: Path) -> RunRecord:
    """Read the record of a run.

    Raises:
        RecordError: It cannot be read.
        ConfigError: It is of another kind.
    """
    record = load_record(folder)
    if isinstance(record, RunRecord):
        return record
    raise _of_another_kind(folder, record, "run")


def load_survey(folder: Path) -> SurveyRecord:
    """Read the record of a survey.

    Raises:
        RecordError: It cannot be read.
        ConfigError: It is of another kind.
    """
    record = load_record(folder)
    if isinstance(record, SurveyRecord):
        return record
    raise _of_another_kind(folder, record, "survey")


def check_as_written(record: Record, folder: Path) -> None:
    """Refuse to go on with a record that is not as it was written, or of which that cannot be told.

    Raises:
        RecordError: It is not.
    """
    if record.integrity is Integrity.WHOLE:
        return
    if record.integrity is Integrity.EDITED:
        problem = "was edited since it was measured"
    else:
        problem = "has no checksum: an earlier gacheck wrote it, or it was edited"
    raise RecordError(
        f"{folder / RECORD_NAME} {problem}.",
        why="What is measured now would stand beside numbers that nobody may have measured.",
        fix="choose another --out, or replace it with --force",
    )


def _of_another_kind(folder: Path, record: AnyRecord, wanted: str) -> ConfigError:
    return ConfigError(
        f"{folder} holds the record of {_NAMES[record.kind]}, not of {_NAMES[wanted]}.",
        why=f"gacheck {wanted} can only go on with its own.",
        fix="choose another --out",
    )


_NAMES = {"run": "a run", "attach": "an attached training", "survey": "a survey"}

_AGAIN = "name another run, or measure again with  gacheck run"


def _content(path: Path) -> tuple[dict[str, Any], Integrity]:
    try:
        written = path.read_bytes()
        content = json.loads(written.decode(), object_pairs_hook=_once)
    except OSError as error:
        raise RecordError(f"{path} cannot be read: {error.strerror}.", why="There is no record.", fix=_AGAIN) from None
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{path} is damaged: {error}.", why="It is not valid JSON.", fix=_AGAIN) from None
    if not isinstance(content, dict) or content.get("kind") not in KINDS:
        raise RecordError(f"{path} is no record of gacheck.", why="It names no kind that is known.", fix=_AGAIN)
    content.pop(KEY, None)
    return content, integrity_of(written)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object of its keys, each of which may stand there once.

    Raises:
        ValueError: One stands twice.
    """
    content = dict(pairs)
    if len(content) < len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"the key {twice!r} stands twice in one object")
    return content
