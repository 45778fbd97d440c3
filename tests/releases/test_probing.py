"""What a smoke check in another process found, read from its exit code and output."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from gacheck.core.history import Tried
from gacheck.errors import ResourceError
from gacheck.releases import probing
from gacheck.releases.probing import probe, read

UNKNOWN_TYPE = """some warning
gacheck: The model type 'gemma3' is unknown.
  why  transformers 4.49.0, which is installed, has no config for it.
"""


def printed(release: str, code: str, severity: str) -> str:
    verdict = {"code": code, "severity": severity}
    return json.dumps({"environment": {"transformers": release}, "model": {"class": "Class"}, "verdict": verdict})


@pytest.mark.parametrize(
    ("exit_code", "stdout", "stderr", "expected"),
    [
        (0, printed("4.50.3", "OK", "ok"), "", Tried("4.50.3", "ok", "OK", class_name="Class")),
        (1, printed("4.50.3", "NONFINITE", "fail"), "", Tried("4.50.3", "fail", "NONFINITE", class_name="Class")),
        (
            3,
            printed("4.50.3", "INCONCLUSIVE", "inconclusive"),
            "",
            Tried("4.50.3", "inconclusive", "INCONCLUSIVE", class_name="Class"),
        ),
        (2, "", UNKNOWN_TYPE, Tried("4.50.3", "absent", reason="The model type 'gemma3' is unknown.")),
        (4, "", "gacheck: Memory ran out.\n  why  x\n", Tried("4.50.3", "unknown", reason="Memory ran out.")),
        (-9, "", "", Tried("4.50.3", "unknown", reason="it ended with exit code -9")),
        (1, "", "Traceback\nImportError: no x\n", Tried("4.50.3", "unknown", reason="ImportError: no x")),
    ],
)
def test_read(exit_code: int, stdout: str, stderr: str, expected: Tried) -> None:
    assert read("4.50.3", exit_code, stdout, stderr) == expected


def test_the_verdict_of_another_release_is_none() -> None:
    found = read("4.50.3", 0, printed("5.0.0", "OK", "ok"), "")

    assert (found.state, found.code) == ("unknown", None)
    assert "5.0.0" in found.reason


def test_the_process_is_given_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "python"
    result = printed("4.50.3", "OK", "ok")
    program.write_text(
        f"#!{sys.executable}\nimport pathlib, sys\n"
        f"pathlib.Path({str(tmp_path / 'log')!r}).write_text(' '.join(sys.argv[1:]))\nprint({result!r})\n"
    )
    program.chmod(0o755)
    monkeypatch.setattr(probing, "python_of", lambda release, say: program)

    found = probe("4.50.3", ["smoke", "--model", "tiny:llama"], print)

    assert found == Tried("4.50.3", "ok", "OK", class_name="Class")
    assert (tmp_path / "log").read_text() == "-P -m gacheck smoke --model tiny:llama --json"


def test_a_release_that_cannot_be_installed_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(release: str, say: object) -> Path:
        raise ResourceError("It could not be installed.", why="No space.", fix="")

    monkeypatch.setattr(probing, "python_of", fail)

    assert probe("4.50.3", [], print) == Tried("4.50.3", "unknown", reason="It could not be installed. No space.")


def test_a_process_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setattr(probing, "python_of", lambda release, say: program)
    monkeypatch.setattr(probing, "LIMIT_SECONDS", 0.2)

    found = probe("4.50.3", [], print)

    assert found.state == "unknown"
    assert "timed out" in found.reason
