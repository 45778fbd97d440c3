"""`gacheck smoke` as CI meets it: what it prints, its exit codes, what GitHub shows. The trainings are faked."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gacheck.cli import main
from gacheck.rules.facts import Flag
from tests.builders import run_record
from tests.fakes import FakeSession

Smoke = Callable[..., int]


@pytest.fixture
def smoke(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Smoke:
    """Run `gacheck smoke` in an empty folder and return its exit code."""
    import gacheck.measure.experiment
    import gacheck.measure.session

    monkeypatch.setattr(gacheck.measure.session, "Session", FakeSession)
    # The release is part of what is printed.
    monkeypatch.setattr(gacheck.measure.experiment, "read_environment", lambda: run_record([]).environment)
    monkeypatch.setattr(FakeSession, "ran", [])
    monkeypatch.setattr(FakeSession, "configs", [])
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    def call(*options: str, on: str = "token_mean", off: str = "mean_of_means", auto: str = "on") -> int:
        monkeypatch.setattr(FakeSession, "rules", {"on": on, "off": off})
        monkeypatch.setattr(FakeSession, "auto", Flag(auto))
        arguments = ["smoke", "--effective-batch-size", "8", *options]
        monkeypatch.setattr(sys, "argv", ["gacheck", *arguments])
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert list(Path().iterdir()) == []
        return int(caught.value.code or 0)

    return call


# Of tests/builders.py: 515 nats / 100 target tokens; two rows a micro-batch have means 5.833, 4.5, 4.8 and 6.2.
WHAT = "Gemma3ForConditionalGeneration transformers 5.23.0"
FINE = f"OK {WHAT}  loss 5.150 = right at k=4\n"
SCALED = f"""\
FAIL SCALED_BY_ACCUMULATION {WHAT}
  k=4, flag on (default): loss 21.333, right 5.150, 4.142 times too large
  fix: trainer.model_accepts_loss_kwargs = False (tried: 5.333)
  see: gacheck run --model tiny:gemma3 --effective-batch-size 8
"""
TWICE = f"""\
FAIL DIVIDED_TWICE {WHAT}
  k=4, flag on (default): loss 1.288, right 5.150, 4.000 times too small
"""


def test_one_pass_and_one_line_when_fine(smoke: Smoke, capsys: pytest.CaptureFixture[str]) -> None:
    assert smoke() == 0
    assert FakeSession.ran == ["k4-on"]
    assert capsys.readouterr() == (FINE, "")
    (config,) = FakeSession.configs
    assert (config.gradient_accumulation_steps, config.max_steps) == ((4,), 2)


def test_two_passes_and_four_lines_when_not(smoke: Smoke, capsys: pytest.CaptureFixture[str]) -> None:
    assert smoke(on="sum_of_means") == 1
    assert FakeSession.ran == ["k4-on", "k4-off"]
    assert capsys.readouterr() == (SCALED, "")


def test_the_flag_is_the_one_that_the_trainer_chooses(smoke: Smoke, capsys: pytest.CaptureFixture[str]) -> None:
    assert smoke(auto="off", off="sum_of_means") == 1
    assert FakeSession.ran == ["k4-off", "k4-on"]
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "  k=4, flag off (default): loss 21.333, right 5.150, 4.142 times too large"
    assert lines[2] == "  fix: trainer.model_accepts_loss_kwargs = True (tried: 5.150)"


def test_a_loss_too_small(smoke: Smoke, capsys: pytest.CaptureFixture[str]) -> None:
    assert smoke(on="token_mean_over_k") == 1
    assert capsys.readouterr().out.startswith(TWICE)


@pytest.mark.parametrize(
    ("rules", "options", "exit_code", "head"),
    [
        ({}, (), 0, "OK "),
        ({"on": "sum_of_means"}, (), 1, "FAIL SCALED_BY_ACCUMULATION "),
        ({"on": "sum_of_means"}, ("--exit-zero",), 0, "FAIL "),
        ({"on": "unshifted_token_mean"}, (), 0, "WARN UNSHIFTED_TOKEN_COUNT "),
        ({"on": "unshifted_token_mean"}, ("--strict",), 1, "WARN "),
        ({"auto": "off"}, (), 0, "WARN MEAN_OF_MEANS "),
        ({"on": "refused"}, (), 1, "FAIL LOSS_KWARGS_REJECTED "),
        ({"on": "memory"}, (), 3, "INCONCLUSIVE "),
    ],
)
def test_exit_codes_and_shape(
    smoke: Smoke,
    capsys: pytest.CaptureFixture[str],
    rules: dict[str, str],
    options: tuple[str, ...],
    exit_code: int,
    head: str,
) -> None:
    assert smoke(*options, **rules) == exit_code
    shown = capsys.readouterr()
    assert shown.out.startswith(head)
    assert WHAT in shown.out.splitlines()[0]
    assert shown.out.isascii()
    assert shown.err == ""
    lines = shown.out.splitlines()
    assert len(lines) == (1 if head == "OK " else 4)
    if head != "OK ":
        assert lines[2].startswith("  fix: ")
        assert lines[3].startswith("  see: gacheck run --model tiny:gemma3 --effective-batch-size 8")


def test_what_to_see_can_be_typed_by_others(
    smoke: Smoke, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gacheck.measure.models.naming.check_name", lambda config: None)
    (tmp_path / "options.yaml").write_text("model: ./of me\nseed: 3\noptim: sgd\n")
    smoke("--config", str(tmp_path / "options.yaml"), "--strict", "--exit-zero", on="sum_of_means")

    assert capsys.readouterr().out.splitlines()[3] == (
        "  see: gacheck run --model './of me' --effective-batch-size 8 --optim sgd --seed 3"
    )


def test_json_is_alone_on_stdout(
    smoke: Smoke, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    assert smoke("--json", on="sum_of_means") == 1
    shown = capsys.readouterr()
    result = json.loads(shown.out)
    assert (result["verdict"]["code"], result["verdict"]["better_flag"]) == ("SCALED_BY_ACCUMULATION", "off")
    assert [each["id"] for each in result["passes"]] == ["k4-on", "k4-off"]
    assert shown.err == ""


def test_memory_that_suffices_for_neither_value_is_no_verdict(smoke: Smoke, capsys: pytest.CaptureFixture[str]) -> None:
    assert smoke(on="memory", off="memory") == 4
    shown = capsys.readouterr()
    assert (shown.out, "The memory did not suffice" in shown.err) == ("", True)


@pytest.mark.parametrize(
    ("rules", "head", "level"),
    [
        ({"on": "sum_of_means"}, "SCALED_BY_ACCUMULATION", "error"),
        ({"on": "unshifted_token_mean"}, "UNSHIFTED_TOKEN_COUNT", "warning"),
        ({"on": "memory"}, "INCONCLUSIVE", "warning"),
    ],
)
def test_github_shows_an_annotation_and_a_summary(
    smoke: Smoke,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    rules: dict[str, str],
    head: str,
    level: str,
) -> None:
    summary = tmp_path / "summary.md"
    summary.write_text("of the step before\n")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    smoke(**rules)

    *lines, annotation = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert annotation.startswith(f"::{level} title=gacheck {head}::Gemma3ForConditionalGeneration: ")
    if head == "SCALED_BY_ACCUMULATION":
        assert annotation.endswith(
            "::Gemma3ForConditionalGeneration: k=4, flag on (default): loss 21.333, right 5.150, "
            "4.142 times too large%0Afix: trainer.model_accepts_loss_kwargs = False   # before trainer.train()"
            "%0ATried above (flag off): 5.333 at k=4. Still wrong after that: short micro-batches weigh too much."
        )
    kept = summary.read_text(encoding="utf-8")
    assert kept.startswith("of the step before\n### gacheck: ")
    assert head in kept
    assert "Gemma3ForConditionalGeneration" in kept


def test_github_shows_a_summary_alone_when_fine(
    smoke: Smoke, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    assert smoke() == 0
    assert capsys.readouterr().out == FINE
    assert (tmp_path / "summary.md").read_text().startswith("### gacheck: OK")


def test_a_summary_that_cannot_be_written_is_said(
    smoke: Smoke, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "nowhere" / "summary.md"))
    assert smoke(on="sum_of_means") == 4
    shown = capsys.readouterr()
    assert shown.out.startswith(SCALED)
    assert "could not be written" in shown.err
    assert "Traceback" not in shown.err


def test_elsewhere_nothing_speaks_to_github(
    smoke: Smoke, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    smoke(on="sum_of_means")
    assert capsys.readouterr().out == SCALED
    assert not (tmp_path / "summary.md").exists()
