"""`gacheck survey`: what is kept, what is gone on with, what is printed where."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import pytest

from gacheck.cli import main
from gacheck.record.environment import installed_version
from gacheck.record.journal import load_survey, save_record
from gacheck.record.survey import SurveyItem, SurveyRecord, SurveyRow
from tests.surveys import GEMMA3, LLAMA, Kind, judged, survey, unjudged

HERE = str(installed_version("transformers"))
OTHER = "4.50.3"
KINDS = (LLAMA, GEMMA3)


def row_of(kind: Kind, release: str = HERE) -> SurveyRow:
    return judged(kind, "sum_of_means" if kind is GEMMA3 else "token_mean", release=release)


@pytest.fixture
def judging(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Put rows made by hand in the place of trainings; return the names of what was judged."""
    seen: list[str] = []

    def judge_all(items: Sequence[SurveyItem], limits: object, started: Callable[..., None]) -> Iterator[SurveyRow]:
        for item in items:
            started(item)
            seen.append(item.name)
            yield row_of(next(kind for kind in KINDS if kind.name == item.name))

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("gacheck.measure.isolation.processes.load_ahead", lambda module: None)
    monkeypatch.setattr("gacheck.measure.survey.pool.judge_all", judge_all)
    monkeypatch.setattr("gacheck.measure.survey.catalogue.find_items", lambda *a, **o: [k.item(HERE) for k in KINDS])
    return seen


def call(*arguments: str) -> int:
    with pytest.raises(SystemExit) as end:
        main(["survey", *arguments])
    assert isinstance(end.value.code, int)
    return end.value.code


def test_it_ends_with_0_whatever_the_verdicts_and_says_where_the_record_is(
    judging: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("--out", "here") == 0
    out, err = capsys.readouterr()

    assert "FAIL SCALED_BY_ACCUMULATION  1 class" in out
    assert "here/   record.json" in out
    assert "1 of 2  llama LlamaForCausalLM  OK" in err
    assert "2 of 2  gemma3 Gemma3ForConditionalGeneration  FAIL SCALED_BY_ACCUMULATION" in err
    assert load_survey(Path("here")).complete


def test_json_is_alone_on_stdout(judging: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--json", "--quiet") == 0
    out, err = capsys.readouterr()

    rows = json.loads(out)["rows"]
    assert [(row["class"], row["verdict"], row["rule_on"], row["rule_off"]) for row in rows] == [
        ("LlamaForCausalLM", "OK", "token_mean", "mean_of_means"),
        ("Gemma3ForConditionalGeneration", "SCALED_BY_ACCUMULATION", "sum_of_means", "mean_of_means"),
    ]
    assert "SCALED_BY_ACCUMULATION" in err


def test_nothing_is_overwritten_unless_told(judging: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--out", "here") == 0
    assert call("--out", "here") == 2
    assert "holds a record already" in capsys.readouterr().err
    assert call("--out", "here", "--force") == 0
    assert judging == ["llama", "gemma3"] * 2


def test_what_was_judged_is_not_judged_again(judging: list[str]) -> None:
    assert call("--out", "here") == 0
    whole = load_survey(Path("here"))
    save_record(whole.model_copy(update={"rows": whole.rows[:1]}), Path("here"))
    judging.clear()

    assert call("--out", "here", "--resume") == 0
    assert judging == ["gemma3"]
    assert load_survey(Path("here")).rows == whole.rows


def test_a_survey_of_something_else_is_not_gone_on_with(judging: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path("here")
    folder.mkdir()
    save_record(survey([row_of(LLAMA)]), folder)

    assert call("--out", "here", "--resume") == 2
    assert "cannot be resumed" in capsys.readouterr().err


def test_an_interrupted_survey_says_how_to_go_on(
    judging: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*arguments: object) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr("gacheck.measure.survey.pool.judge_all", interrupt)
    monkeypatch.setattr(sys, "argv", ["gacheck", "survey", "llama*", "--out", "here"])

    assert call("llama*", "--out", "here") == 130
    assert "gacheck survey 'llama*' --out here --resume" in capsys.readouterr().err


def test_other_releases_are_asked_and_joined(
    judging: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []

    def judge_elsewhere(release: str, *arguments: Any, **options: Any) -> SurveyRecord:
        asked.append(release)
        return survey([row_of(LLAMA, release), unjudged(GEMMA3, "it is not there", release=release)])

    monkeypatch.setattr("gacheck.commands.survey.judge_elsewhere", judge_elsewhere)

    assert call("--transformers", f"{OTHER},{HERE}", "--out", "here") == 0
    assert (asked, judging) == ([OTHER], ["llama", "gemma3"])
    record = load_survey(Path("here"))
    assert record.complete
    assert [(row.item.name, row.item.transformers) for row in record.rows] == [
        ("llama", OTHER),
        ("gemma3", OTHER),
        ("llama", HERE),
        ("gemma3", HERE),
    ]
    # Nothing is asked twice.
    assert call("--transformers", f"{OTHER},{HERE}", "--out", "here", "--resume") == 0
    assert (asked, judging) == ([OTHER], ["llama", "gemma3"])


def test_a_release_that_failed_ends_the_survey_and_keeps_the_rest(
    judging: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("gacheck.commands.surveying.python_of", lambda release, say: Path("/bin/false"))

    assert call("--transformers", f"{HERE},{OTHER}", "--out", "here") == 4
    assert f"The survey under transformers {OTHER} ended with exit code 1." in capsys.readouterr().err
    assert {row.item.transformers for row in load_survey(Path("here")).rows} == {HERE}


def test_a_killed_survey_goes_on_where_it_was(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "gacheck", "survey", "llama", "xlnet", "qwen2", "--jobs", "1", "--out", "here"]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    folder, limit = tmp_path / "here", time.monotonic() + 120
    while time.monotonic() < limit and not ((folder / "record.json").exists() and load_survey(folder).rows):
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = load_survey(folder).rows

    done = subprocess.run([*command, "--resume"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    after = load_survey(folder)
    assert 1 <= len(before) < 3
    assert after.rows[: len(before)] == before
    assert after.complete
    assert "SCALED_BY_ACCUMULATION  1 class" in done.stdout
