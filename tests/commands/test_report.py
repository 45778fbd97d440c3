"""`gacheck report` as a person meets it: which run, which format, where it goes, and wrong input."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gacheck.cli import main
from gacheck.record.journal import save_record
from gacheck.record.run import RunRecord
from tests.builders import full_run
from tests.reporters.cases import RECORDS


@pytest.fixture
def gacheck(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., int]:
    """Run `gacheck report` in an empty folder and return its exit code."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> int:
        with pytest.raises(SystemExit) as caught:
            main(["report", *arguments])
        return int(caught.value.code or 0)

    return call


def keep(record: RunRecord, folder: str, age: int = 0) -> Path:
    """Save a record that is `age` seconds old."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    path = save_record(record, Path(folder))
    os.utime(path, (1_700_000_000 - age,) * 2)
    return path


def test_the_newest_run_is_the_default(gacheck: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    keep(full_run("token_mean", "mean_of_means"), "gacheck-runs/z-oldest", age=20)
    keep(full_run("sum_of_means", "mean_of_means"), "gacheck-runs/a-newest", age=0)
    keep(full_run("token_mean", "mean_of_means"), "gacheck-runs/m-middle", age=10)
    Path("gacheck-runs/begun").mkdir()

    assert gacheck() == 0
    shown = capsys.readouterr().out
    assert "SCALED_BY_ACCUMULATION" in shown
    assert "gacheck-runs/a-newest/" in shown


@pytest.mark.parametrize("made", [None, "gacheck-runs", "gacheck-runs/begun"])
def test_no_run_at_all(gacheck: Callable[..., int], capsys: pytest.CaptureFixture[str], made: str | None) -> None:
    if made:
        Path(made).mkdir(parents=True)

    assert gacheck() == 2
    shown = capsys.readouterr()
    assert "There is no run under gacheck-runs/" in shown.err
    assert "gacheck run" in shown.err
    assert shown.out == ""


def test_a_run_is_named_by_folder_or_file(gacheck: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    path = keep(RECORDS["scaled"], "here")

    assert gacheck("here") == 0
    by_folder = capsys.readouterr().out
    assert gacheck(str(path)) == 0
    assert capsys.readouterr().out == by_folder
    assert " saved     here/   record.json\n" in by_folder
    (path.parent / "loss.png").write_bytes(b"")
    shutil.copyfile(path, "here/copy.json")
    assert gacheck("here/copy.json") == 0
    assert " saved     here/   copy.json  loss.png\n" in capsys.readouterr().out


def test_stdout_and_file_get_the_same(gacheck: Callable[..., int], capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    keep(RECORDS["scaled"], "here")
    for format in ("terminal", "json", "markdown", "csv", "svg", "html"):
        assert gacheck("here", "--format", format) == 0
        assert gacheck("here", "--format", format, "-o", "-") == 0
        assert gacheck("here", "--format", format, "-o", format) == 0
        content = Path(format).read_bytes()
        assert capfdbinary.readouterr().out == content * 2


@pytest.mark.parametrize(
    ("name", "options", "exit_code"),
    [
        ("scaled", (), 0),
        ("scaled", ("--exit-code",), 1),
        ("right", ("--exit-code", "--strict"), 0),
        ("unshifted", ("--exit-code",), 0),
        ("unshifted", ("--exit-code", "--strict"), 1),
        ("all failed", ("--exit-code",), 3),
        ("all failed", (), 0),
    ],
)
def test_exit_codes(gacheck: Callable[..., int], name: str, options: tuple[str, ...], exit_code: int) -> None:
    keep(RECORDS[name], "here")

    assert gacheck("here", *options) == exit_code


def test_nothing_is_overwritten_unless_told(gacheck: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    keep(RECORDS["scaled"], "here")
    Path("report.md").write_text("mine")

    assert gacheck("here", "--format", "markdown", "-o", "report.md") == 2
    assert "--force" in capsys.readouterr().err
    assert Path("report.md").read_text() == "mine"
    assert gacheck("here", "--format", "markdown", "-o", "report.md", "--force") == 0
    assert Path("report.md").read_text(encoding="utf-8").startswith("### gacheck")


def test_the_record_itself_is_never_overwritten(
    gacheck: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    before = keep(RECORDS["scaled"], "here").read_bytes()
    Path("link").symlink_to("here/record.json")

    for target in ("here/record.json", "here/../here/record.json", "link"):
        assert gacheck("here", "-o", target, "--force") == 2
        assert "the record itself" in capsys.readouterr().err
    assert Path("here/record.json").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "exit_code", "said"),
    [
        (("--strict",), 2, "--exit-code"),
        (("--format", "pdf"), 2, "pdf"),
        (("-o", "folder"), 2, "is a folder"),
        (("-o", "folder", "--force"), 2, "is a folder"),
        (("-o", "x" * 400), 2, "cannot be written"),
        (("-o", "nowhere/report.md"), 4, "could not be written"),
    ],
)
def test_wrong_options(
    gacheck: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    exit_code: int,
    said: str,
) -> None:
    keep(RECORDS["scaled"], "here")
    Path("folder").mkdir()

    assert gacheck("here", *arguments) == exit_code
    shown = capsys.readouterr()
    assert said in shown.err
    assert "Traceback" not in shown.err
    assert shown.out == ""


def test_a_png_does_not_go_to_a_terminal(
    gacheck: Callable[..., int], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(RECORDS["scaled"], "here")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)

    assert gacheck("here", "--format", "png") == 2
    shown = capsys.readouterr()
    assert "-o loss.png" in shown.err
    assert shown.out == ""
    assert gacheck("here", "--format", "png", "-o", "loss.png") == 0
    assert Path("loss.png").read_bytes().startswith(b"\x89PNG")


def test_a_png_goes_down_a_pipe(gacheck: Callable[..., int], capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    keep(RECORDS["scaled"], "here")

    assert gacheck("here", "--format", "png") == 0
    assert capfdbinary.readouterr().out.startswith(b"\x89PNG\r\n\x1a\n")


def other_flag(content: str) -> str:
    """Let the plan be one in which the passes have no place."""
    record = json.loads(content)
    return json.dumps(record | {"config": record["config"] | {"loss_kwargs": ["off"]}})


@pytest.mark.parametrize(
    ("spoil", "said"),
    [(lambda content: content[:2000], "not valid JSON"), (other_flag, "the pass k1-on was not planned")],
    ids=["cut off", "a pass of another flag"],
)
@pytest.mark.parametrize("by_file", [False, True], ids=["folder", "file"])
def test_bad_records_are_named(
    gacheck: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    spoil: Callable[[str], str],
    said: str,
    by_file: bool,
) -> None:
    path = keep(RECORDS["scaled"], "here")
    path.write_text(spoil(path.read_text()))

    assert gacheck("here/record.json" if by_file else "here", "-o", "out") == 2
    shown = capsys.readouterr()
    assert "here/record.json" in shown.err
    assert said in shown.err
    assert "Traceback" not in shown.err
    assert not Path("out").exists()


@pytest.mark.parametrize("run", ["nowhere", "empty", "empty/record.json", "x" * 400])
def test_a_run_that_is_not_there(gacheck: Callable[..., int], capsys: pytest.CaptureFixture[str], run: str) -> None:
    Path("empty").mkdir()

    assert gacheck(run) == 2
    shown = capsys.readouterr()
    assert run in shown.err
    assert "Traceback" not in shown.err
    assert shown.out == ""


@pytest.mark.parametrize("format", ["png", "svg", "html"])
def test_without_matplotlib_there_is_no_picture(
    gacheck: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    format: str,
) -> None:
    keep(RECORDS["scaled"], "here")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "gacheck.reporters.picture", raising=False)

    assert gacheck("here", "--format", format) == 4
    shown = capsys.readouterr()
    assert "matplotlib cannot be imported" in shown.err
    assert "pip install -U matplotlib" in shown.err
    assert shown.out == ""


def test_without_jinja2_there_is_no_page(
    gacheck: Callable[..., int], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(RECORDS["nothing"], "here")
    monkeypatch.setitem(sys.modules, "jinja2", None)
    for module in ("page", "templating"):
        monkeypatch.delitem(sys.modules, f"gacheck.reporters.html.{module}", raising=False)

    assert gacheck("here", "--format", "html") == 4
    shown = capsys.readouterr()
    assert "jinja2 cannot be imported" in shown.err
    assert "pip install -U jinja2" in shown.err
    assert shown.out == ""
    assert gacheck("here") == 0
