"""Names from outside that would like to do harm: every command and format shows them and obeys none."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar
from xml.etree import ElementTree

import pytest
from rich.cells import cell_len

from gacheck.cli import main
from gacheck.config import ExperimentConfig
from gacheck.record.parts import OracleRecord, PassRecord
from gacheck.record.plan import PassSpec
from gacheck.reporters.csv_report import COLUMNS
from tests.builders import failed_pass
from tests.fakes import FakeSession

# Each could be a folder's name on Linux.
NAMES = {
    "rich markup": "[bold red]x[/bold red][link=http://evil.example]y[/link] :boom:",
    "table": "a | b || c `d` | ---",
    "forged lines": "x\nOK  all is well\n::error title=forged::no\r\n### forged\n",
    "control": "x\x1b[2J\x1b]0;title\x07\x08\x7f\x9b31m\u202eevil\u2028y",
    "workflow": "x%0A::error title=forged::no%0D%0A::set-output name=a::b",
    "html": "<script>alert(1)</script><img src=x onerror=alert(2)>&amp;<!-- -->",
    "markdown": "![x](http://evil.example) @someone #1 **bold** </details> ```",
    "formula": '=HYPERLINK("http://evil.example","x")',
    "mathtext": r"$\frac{1$ ${HOME} $(touch pwned) `touch pwned`",
    "shell": "x; touch pwned #' \" \\",
    "option": "-- --json",
    "long": "x" * 200 + "日本語" * 20,
}


PROGRESS = re.compile(rb"^pass \d/\d  k=\d flag (on|off)  (failed|first-step loss [\d.]+), [\d.]+ s\n", re.MULTILINE)


class HostileSession(FakeSession):
    """A model whose class, folder and failure bear the same name."""

    rules: ClassVar = {"on": "sum_of_means", "off": "mean_of_means"}
    name = ""
    fails = False

    def __init__(self, config: ExperimentConfig, **how: object) -> None:
        super().__init__(config, **how)
        named = {"name": config.model, "class_name": self.name, "model_type": self.name, "stand_in": False}
        self.model = self.model.model_copy(update=named)

    def run_pass(self, spec: PassSpec, oracle: OracleRecord, step_done: Callable[[], None]) -> PassRecord:
        if not self.fails:
            return super().run_pass(spec, oracle, step_done)
        failed = failed_pass(spec.accumulation_steps, spec.loss_kwargs)
        assert failed.error is not None
        # Failures that are all alike would end the run.
        error = failed.error.model_copy(update={"kind": "ValueError", "message": f"{self.name} {spec.loss_kwargs}"})
        return failed.model_copy(update={"error": error})


@pytest.fixture(params=NAMES.values(), ids=NAMES.keys())
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


Gacheck = Callable[..., str]


@pytest.fixture
def gacheck(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes], name: str
) -> Gacheck:
    """Run the program in an empty folder and return what it prints."""
    import gacheck.measure.session

    monkeypatch.setattr(gacheck.measure.session, "Session", HostileSession)
    monkeypatch.setattr(HostileSession, "name", name)
    # No such model is anywhere, and the session that would say so is not the real one.
    monkeypatch.setattr("gacheck.measure.models.naming.check_name", lambda config: None)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)

    def call(*arguments: str, fails: bool = False, exit_code: int = 0) -> str:
        monkeypatch.setattr(HostileSession, "fails", fails)
        monkeypatch.setattr(sys, "argv", ["gacheck", *arguments])
        with pytest.raises(SystemExit) as caught:
            main(list(arguments))
        shown = capfdbinary.readouterr()
        assert (caught.value.code or 0, PROGRESS.sub(b"", shown.err)) == (exit_code, b"")
        return shown.out.decode()

    return call


def measured(gacheck: Gacheck, name: str, *, fails: bool = False) -> str:
    small = ("--effective-batch-size", "8", "-k", "1,4", "--exit-zero", "--out", "run")
    return gacheck("run", f"--model={name}", *small, fails=fails)


def assert_harmless_lines(text: str, columns: int | None = None) -> None:
    lines = text.split("\n")
    assert all(line.isprintable() for line in lines)
    assert not any(line.lstrip().startswith(("OK  all is well", "::error", "::set", "### forged")) for line in lines)
    if columns is not None:
        assert all(cell_len(line) <= columns for line in lines)


def assert_csv(shown: str) -> None:
    assert_harmless_lines(shown)
    rows = list(csv.reader(shown.splitlines()))
    assert {len(row) for row in rows} == {len(COLUMNS)}
    assert not any(cell.startswith(("=", "+", "@")) for row in rows for cell in row)


def without_code(markdown: str) -> str:
    """Take out what Markdown shows as it is: blocks and spans of code."""
    outside = re.sub(r"^```\w*\n.*?\n```$", "", markdown, flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)", "", outside)


# What the report itself consists of.
OWN_TAGS = {f"<{slash}{tag}>" for tag in ("details", "summary", "span") for slash in ("", "/")} | {"<!-- -->"}


def assert_markdown(shown: str) -> None:
    assert_harmless_lines(shown)
    prose = without_code(shown)
    assert set(re.findall(r"<[^>]*>", prose)) <= OWN_TAGS
    assert len(re.findall("</details>", prose)) == 1
    assert not re.search(r"(?<!\\)\*\*bold|(?<!\\)!\[x\]\(|@someone|#1\b", prose)
    table = [line for line in shown.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in table} == {11}


@pytest.mark.parametrize("fails", [False, True], ids=["measured", "failed"])
def test_text(gacheck: Gacheck, name: str, fails: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gacheck.reporters.picture.render_picture", lambda analysis: b"")
    shown = measured(gacheck, name, fails=fails)
    assert_harmless_lines(shown, 80)
    if name.isprintable() and len(name) < 40:
        assert name.replace(" ", "") in re.sub(r"\s", "", shown)  # no markup was swallowed
    model = json.loads(gacheck("report", "run", "--format", "json"))["model"]
    assert (model["name"], model["class"]) == (name, name)
    assert_csv(gacheck("report", "run", "--format", "csv"))
    assert_markdown(gacheck("report", "run", "--format", "markdown"))


def test_quiet_and_the_folder_of_the_run(gacheck: Gacheck, name: str) -> None:
    small = ("--effective-batch-size", "8", "-k", "1,4", "--exit-zero")
    assert_harmless_lines(gacheck("run", f"--model={name}", *small, "--quiet"), 80)
    (folder,) = Path("gacheck-runs").iterdir()
    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", folder.name)
    # With a picture that is drawn.
    assert (folder / "loss.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    svg = ElementTree.fromstring(gacheck("report", str(folder), "--format", "svg"))
    assert not [each for each in svg.iter() if each.tag.endswith(("script", "image", "}a", "foreignObject"))]


def test_smoke_and_annotation(gacheck: Gacheck, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    options = (f"--model={name}", "--effective-batch-size", "8", "--exit-zero")
    for fails in (False, True):
        shown = gacheck("smoke", *options, fails=fails)
        assert_harmless_lines(re.sub("^::(error|warning) title=gacheck", "", shown, flags=re.MULTILINE))
        *lines, annotation, end = shown.split("\n")
        assert (len(lines), end) == (4, "")
        assert all(line.isascii() for line in lines)
        # The command to copy names the model, to the letter, and nothing else.
        script = "printf '%s\\0' " + lines[-1].removeprefix("  see: ")
        typed = subprocess.run(["bash", "-c", script], capture_output=True, check=True, timeout=20).stdout
        words = typed.decode("utf-8", "surrogateescape").split("\0")
        assert words == ["gacheck", "run", "--model", name, "--effective-batch-size", "8", ""]
        # One command, whose message decodes to lines of ours.
        assert re.match("::(error|warning) title=gacheck [A-Z_]+::", annotation)
        message = annotation.split("::", 2)[2].replace("%0A", "\n").replace("%0D", "\r").replace("%25", "%")
        assert_harmless_lines(message)
    assert_harmless_lines((tmp_path / "summary.md").read_text(encoding="utf-8"))


def test_a_real_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """The loader and the libraries below it treat the name as a name."""
    from gacheck.measure.models.building import build_model
    from gacheck.measure.models.stand_in import tiny_config

    folder = "".join(NAMES[key] for key in ("rich markup", "workflow", "control", "mathtext")).replace(
        "/", "\N{DIVISION SLASH}"
    )
    build_model(tiny_config("llama", 300), seed=0).save_pretrained(tmp_path / folder)
    monkeypatch.chdir(tmp_path)
    capfd.readouterr()
    with pytest.raises(SystemExit) as caught:
        main(["smoke", "--model", folder, "--effective-batch-size", "8"])
    shown = capfd.readouterr()
    assert (caught.value.code or 0, shown.err) == (0, "")
    assert shown.out.splitlines()[0].split()[1:3] == ["LlamaForCausalLM", "transformers"] or shown.out.startswith(
        "WARN"
    )
    with pytest.raises(SystemExit) as caught:
        main(["smoke", "--model", f"{folder}\n::error::forged", "--effective-batch-size", "8"])
    shown = capfd.readouterr()
    assert caught.value.code == 2
    assert "There is no model" in shown.err
    assert not any(line.startswith("::") for line in shown.err.splitlines())
    assert "\x1b" not in shown.err
