"""The sample option files: each is run as its own first lines say; the one that needs the hub is only read."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from gacheck.cli import main
from gacheck.config import load_config
from gacheck.record.journal import load_record

SAMPLES = Path(__file__).parents[1] / "sample_configs"
FILES = sorted(SAMPLES.glob("*.yaml"))
NEEDS_HUB = {"hub-model.yaml"}
COMMAND = re.compile(r"^#     gacheck (.+)$", re.MULTILINE)


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


def test_every_key_is_an_option_and_the_command_names_the_file_itself() -> None:
    for path in FILES:
        assert load_config(path, {}).model
        assert command(path)[1:] == ["--config", str(path)]


# What makes a run short, whatever the file says beside it.
SHORT = {"max_steps": 1, "max_length": 32, "gradient_accumulation_steps": "2"}


@pytest.mark.parametrize("path", [path for path in FILES if path.name not in NEEDS_HUB], ids=lambda path: path.stem)
def test_it_runs(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    monkeypatch.setattr("gacheck.reporters.picture.render_picture", lambda analysis: b"")
    if path.stem == "local-folder":
        save_model(tmp_path / "my-model")
    name, *options = command(path)
    measures = name == "run"
    short = SHORT if measures else {"max_length": 32}
    flags = [word for key, value in short.items() for word in (f"--{key.replace('_', '-')}", str(value))]

    code = run(name, *options, *flags, *(["--exit-zero", "--quiet", "--out", "result"] if measures else []))

    # Whether the verdict is good depends on the installed release, not on the sample.
    assert code == 0 if measures else code in (0, 1)
    assert re.match(r"(OK|WARN|FAIL) ", capsys.readouterr().out)
    if measures:
        record = load_record(tmp_path / "result")
        assert record.complete
        assert {each.status for each in record.passes} == {"ok"}
        assert record.config == load_config(path, short).experiment()
