"""The sample option files: each is run as its own first lines say; the one that needs the hub is only read."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from gacheck.cli import main
from gacheck.config import RunConfig, load_config
from gacheck.record.journal import load_record

SAMPLES = Path(__file__).parents[1] / "sample_configs"
FILES = sorted(SAMPLES.glob("*.yaml"))
NEEDS_HUB = {"hub-model.yaml"}
COMMAND = re.compile(r"^#     gacheck (.+)$", re.MULTILINE)

every_file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


def command(path: Path) -> list[str]:
    """Return the arguments that the file's own comment gives."""
    (line,) = COMMAND.findall(path.read_text(encoding="utf-8"))
    return [str(SAMPLES.parent / word) if word.startswith("sample_configs/") else word for word in shlex.split(line)]


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(list(arguments))
    return int(caught.value.code or 0)


def save_model(folder: Path) -> None:
    """Write a folder as a person would: model and tokenizer by `save_pretrained`."""
    from tests.measure.modelling import stand_in_tokenizer, tiny_model

    tiny_model(model_type="llama").save_pretrained(folder)
    stand_in_tokenizer().save_pretrained(folder)


def test_there_are_samples_of_every_kind() -> None:
    names = {"gemma3-pretraining", "packed-pretraining", "local-folder", "hub-model", "smoke"}

    assert {path.stem for path in FILES} == names
    assert {path.name for path in FILES} >= NEEDS_HUB


@every_file
def test_every_key_is_an_option(path: Path) -> None:
    assert load_config(path, {}).model


@every_file
def test_the_command_names_the_file_itself(path: Path) -> None:
    _, *options = command(path)

    assert options == ["--config", str(path)]


@every_file
def test_it_runs(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if path.name in NEEDS_HUB:
        pytest.skip("tests do not ask the hub")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    if path.stem == "local-folder":
        save_model(tmp_path / "my-model")
    name, *options = command(path)
    measures = name == "run"

    code = run(name, *options, *(["--exit-zero", "--max-steps", "1", "--quiet", "--out", "result"] if measures else []))

    # Whether the verdict is good depends on the installed release, not on the sample.
    assert code == 0 if measures else code in (0, 1)
    assert re.match(r"(OK|WARN|FAIL) ", capsys.readouterr().out)
    if measures:
        record = load_record(tmp_path / "result")
        assert record.complete
        assert {each.status for each in record.passes} == {"ok"}
        assert record.config == _wanted(path).experiment()


def _wanted(path: Path) -> RunConfig:
    return load_config(path, {"max_steps": 1})
