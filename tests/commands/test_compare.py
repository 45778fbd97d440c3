"""`gacheck compare` as a person meets it: what is named, what is refused and why, exit codes, formats."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from gacheck.cli import main
from gacheck.record.journal import save_record
from gacheck.record.kinds import AnyRecord
from gacheck.record.survey import everything_of
from tests.builders import attached_run, full_run
from tests.reporters.cases import RECORDS
from tests.reporters.survey_cases import SURVEYS, rows_of
from tests.surveys import GEMMA3, LLAMA, MIDDLE, NEW, OLD, judged, survey

Gacheck = Callable[..., tuple[int, str, str]]


@pytest.fixture
def gacheck(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Gacheck:
    """Run `gacheck compare` in a folder with some records; return its exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    records: dict[str, AnyRecord] = {
        "right": RECORDS["right"],
        "scaled": RECORDS["scaled"],
        "failed": RECORDS["all failed"],
        "few-k": full_run("sum_of_means", "mean_of_means", ks=(1, 4)),
        "attached": RECORDS["attached"],
        "attached-k2": attached_run("sum_of_means", k=2),
        "old": survey(rows_of(OLD)),
        "middle": survey(rows_of(MIDDLE)),
        "new": survey(rows_of(NEW)),
        "three": SURVEYS["releases"],
        "empty": SURVEYS["empty"],
        "begun": survey(rows_of(OLD), missing=[everything_of(NEW)]),
        "other-class": survey([judged(LLAMA, "token_mean")]),
        "gemma3-alone": survey([judged(GEMMA3, "token_mean")]),
    }
    for name, record in records.items():
        Path(name).mkdir()
        save_record(record, Path(name))

    def call(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            main(["compare", *arguments])
        shown = capsys.readouterr()
        return int(caught.value.code or 0), shown.out, shown.err

    return call


@pytest.mark.parametrize(
    ("a", "b", "exit_code", "last"),
    [
        ("scaled", "right", 0, "no regression"),
        ("scaled", "scaled", 0, "no regression"),
        ("right", "scaled", 1, "REGRESSION: OK → FAIL SCALED_BY_ACCUMULATION"),
        ("right", "failed", 3, "? no regression is seen, but A has a verdict and B has none"),
        ("failed", "right", 3, "? nothing is judged in both, so no regression could be seen"),
        ("attached", "attached", 0, "no regression"),
        ("old", "middle", 0, "no regression in the 5 classes that are judged in both"),
        ("middle", "old", 1, "REGRESSION: Gemma3ForConditionalGeneration, Gemma3ForCausalLM"),
        (f"three@{OLD}", f"three@{MIDDLE}", 0, "no regression in the 5 classes that are judged in both"),
        (f"three@{MIDDLE}", "old", 1, "REGRESSION: Gemma3ForConditionalGeneration, Gemma3ForCausalLM"),
        ("new", f"new/record.json@{NEW}", 0, "no regression in the 5 classes that are judged in both"),
        ("gemma3-alone", "new", 0, "no regression in the one class that is judged in both"),
        ("right/record.json", "right/", 0, "no regression"),
    ],
)
def test_exit_codes(gacheck: Gacheck, a: str, b: str, exit_code: int, last: str) -> None:
    code, out, err = gacheck(a, b)

    assert (code, out.splitlines()[-1], err) == (exit_code, last, "")


def test_gemma3_is_better_between_two_releases(gacheck: Gacheck) -> None:
    code, out, _ = gacheck(f"three@{OLD}", f"three@{MIDDLE}")

    assert code == 0
    assert "better: FAIL SCALED_BY_ACCUMULATION → WARN MEAN_OF_MEANS (2)\n    Gemma3ForConditionalGeneration" in out


@pytest.mark.parametrize(
    ("arguments", "said", "fix"),
    [
        (("scaled", "few-k"), "A has gradient_accumulation_steps 1,2,4,8, B 1,4", "measure one of them again"),
        (("attached", "attached-k2"), "A has gradient_accumulation_steps 4, B 2", "measure one of them again"),
        (("scaled", "old"), "scaled is a run and old is a survey", "two records of one kind"),
        (("attached", "scaled"), "attached is an attached training and scaled is a run", "two records of one kind"),
        (("three", "old"), "three holds 3 releases", f"three@{OLD} or three@{MIDDLE} or three@{NEW}"),
        ((f"three@{OLD}", "three@5.0.0"), "three holds no release '5.0.0'", f"three@{NEW}"),
        (("old@", "old"), "holds no release ''", f"old@{OLD}"),
        ((f"scaled@{OLD}", "scaled"), "scaled holds a run, of one release", "write  scaled"),
        (("begun@5.24.0", "new"), "has not come to transformers 5.24.0 yet", "gacheck survey --resume --out begun"),
        (("empty", "new"), "empty holds 0 releases", "another survey"),
        (("other-class", "gemma3-alone"), "no class in common", "the same classes"),
        (("nowhere", "old"), "There is no run nowhere", "gacheck run"),
        (("old", "@4.50.3"), "There is no run @4.50.3", ""),
        (("x" * 400, "old"), "cannot be read", "name a run's folder"),
        (("old",), "Missing argument 'B'", "--help"),
        (("old", "new", "--json", "--format", "markdown"), "exclude each other", "leave out --json"),
        (("old", "new", "--format", "csv"), "csv", "--format"),
    ],
)
def test_what_cannot_be_compared_is_refused(gacheck: Gacheck, arguments: tuple[str, ...], said: str, fix: str) -> None:
    code, out, err = gacheck(*arguments)

    assert (code, out) == (2, "")
    assert said in err
    assert fix in err.split("\n  do ")[1]
    assert "Traceback" not in err


def test_a_survey_that_differs_in_one_class_names_it(gacheck: Gacheck) -> None:
    row = judged(GEMMA3, "token_mean")
    assert row.training is not None
    config = row.training.config.model_copy(update={"max_steps": 4})
    other = row.model_copy(update={"training": row.training.model_copy(update={"config": config})})
    Path("longer").mkdir()
    save_record(survey([judged(LLAMA, "token_mean"), other]), Path("longer"))

    code, _, err = gacheck("new", "longer")

    assert code == 2
    assert "of Gemma3ForConditionalGeneration differ in more than what is compared: A has max_steps 2, B 4" in err


def test_json_is_all_that_is_printed(gacheck: Gacheck) -> None:
    code, out, err = gacheck("middle", "old", "--json")

    assert (code, err) == (1, "")
    assert json.loads(out)["result"] == "regression"
    assert (
        gacheck("middle", "old", "--format", "json")[1]
        == out
        == gacheck("middle", "old", "--json", "--format", "json")[1]
    )


def test_markdown(gacheck: Gacheck) -> None:
    code, out, _ = gacheck("middle", "new", "--format", "markdown")

    assert code == 0
    assert out.startswith("### gacheck compare: no regression in the 5 classes that are judged in both\n")
    assert "| Gemma3ForConditionalGeneration | fixed | WARN MEAN_OF_MEANS → OK | 1.036 → 1.000 |\n" in out


def test_a_name_that_is_nearly_a_runs_is_asked_about(gacheck: Gacheck) -> None:
    Path("gacheck-runs/llama-0102").mkdir(parents=True)
    save_record(RECORDS["right"], Path("gacheck-runs/llama-0102"))

    assert "did you mean  gacheck-runs/llama-0102?" in gacheck("llama-0103", "right")[2]


def test_a_folder_whose_name_holds_an_at_sign_is_a_folder(gacheck: Gacheck) -> None:
    Path("runs@home").mkdir()
    save_record(RECORDS["right"], Path("runs@home"))

    assert gacheck("runs@home", "right")[0] == 0


def test_a_record_that_contradicts_itself_is_named(gacheck: Gacheck) -> None:
    path = Path("scaled/record.json")
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"config": record["config"] | {"loss_kwargs": ["off"]}}))

    code, out, err = gacheck("right", "scaled")

    assert (code, out) == (2, "")
    assert "scaled/record.json is damaged: the pass k1-on was not planned." in err


def test_on_a_terminal_that_knows_ascii_alone(gacheck: Gacheck, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gacheck.commands.output._speaks_unicode", lambda stream: False)

    _, out, _ = gacheck("middle", "old")
    assert out.isascii()
    assert "WARN MEAN_OF_MEANS -> FAIL SCALED_BY_ACCUMULATION" in out
