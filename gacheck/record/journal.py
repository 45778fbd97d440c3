"""Keeps a record on disk: written whole or not at all, and read with an answer to whatever may be wrong with it."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import get_args

from pydantic import ValidationError

from gacheck.errors import RecordError, ResourceError
from gacheck.record.run import SCHEMA_VERSION, RunRecord

RECORD_NAME = "record.json"


def save_record(record: RunRecord, folder: Path) -> Path:
    """Write `folder`/record.json so that a crash at any moment leaves the old or the new one whole.

    Raises:
        ResourceError: The disk is full or the folder cannot be written.
    """
    path = folder / RECORD_NAME
    try:
        descriptor, temporary = tempfile.mkstemp(dir=folder, prefix=".record-", suffix=".json")
        try:
            # mkstemp makes files that the owner alone can read; a record is no secret.
            umask = os.umask(0)
            os.umask(umask)
            Path(temporary).chmod(0o666 & ~umask)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(record.model_dump_json(indent=1) + "\n")
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise ResourceError(
            f"The record could not be saved in {folder}: {error.strerror}.",
            why="What was measured since the last save would be lost.",
            fix="free some space or choose another folder with --out; then add --resume",
        ) from error
    return path


def load_record(path: Path) -> RunRecord:
    """Read a record from its file or its folder.

    Raises:
        RecordError: It is missing, damaged, foreign or newer than this gacheck.
    """
    path = path / RECORD_NAME if path.is_dir() else path
    again = "name another run, or measure again with  gacheck run"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecordError(f"{path} cannot be read: {error.strerror}.", why="There is no record.", fix=again) from None
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{path} is damaged: {error}.", why="It is not valid JSON.", fix=again) from None
    if not isinstance(content, dict) or content.get("kind") not in get_args(RunRecord.model_fields["kind"].annotation):
        raise RecordError(f"{path} is no record of gacheck.", why="It names no kind that is known.", fix=again)
    version = content.get("schema_version")
    if not isinstance(version, int) or version > SCHEMA_VERSION:
        raise RecordError(
            f"{path} has schema version {version}; this gacheck reads up to {SCHEMA_VERSION}.",
            why="A newer gacheck wrote it.",
            fix="upgrade gacheck",
        )
    try:
        return RunRecord.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        problem = first["msg"].removeprefix("Value error, ")
        raise RecordError(f"{path} is damaged at {place}: {problem}.", why="A fact is missing.", fix=again) from None
