"""Wrong invocations of every command: one message that says what is wrong, the right exit code, nothing left."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from gacheck.cli import main
from gacheck.commands import measuring

# What stands in the working folder; {} in an argument is that folder.
FILES: dict[str, bytes] = {
    "text.jsonl": b'{"text": "a"}\n',
    "broken.jsonl": b'{"text": "a"}\n{\n',
    "empty.txt": b"",
    "notes.doc": b"words",
    "list.yaml": b"- 1\n",
    "bad.yaml": b"a: [\n",
    "unknown.yaml": b"max_stepz: 3\n",
    "wrong.yaml": b"seed: many\n",
    "model/notes.txt": b"no model here",
    "damaged/config.json": b"{",
    "adapter/adapter_config.json": b"{}",
    "run/record.json": b"{}",
    "broken.py": b"1 / 0\n",
    "quits.py": b"import sys\n\nsys.exit(0)\n",
    "quits_later.py": b"def loss(outputs, labels, **counts):\n    raise SystemExit(1)\n",
    "locked": b"a file, not a folder",
}
TINY = ("run", "--model", "tiny:llama")

WRONG: list[tuple[tuple[str, ...], int, str]] = [
    ((), 2, ""),
    (("measure",), 2, "No such command"),
    (("--nonsense",), 2, "No such option"),
    (("run", "tiny:gemma3"), 2, "unexpected extra argument"),
    (("run", "--model"), 2, "requires an argument"),
    (("run", "--model", "tiny:"), 2, "unknown"),
    (("run", "--model", "tiny:lama"), 2, "llama"),
    (("run", "--model", "./nowhere"), 2, "There is no model at ./nowhere"),
    (("run", "--model", "./nowhere", "--out", "new"), 2, "There is no model at ./nowhere"),
    (("run", "--model", ""), 2, "There is no model at"),
    (("run", "--model", "model"), 2, "has no config.json"),
    (("run", "--model", "damaged"), 2, "cannot be read"),
    (("run", "--model", "adapter"), 2, "does not say which model"),
    (("run", "--model", "org/absent"), 4, "not in the cache"),
    (("run", "--model", "a/b/c"), 2, "There is no model at a/b/c"),
    (("run", "--model", "org/absent", "--trust-remote-code"), 2, "pin the commit"),
    ((*TINY, "--model-class", "NoColon"), 2, "package.module:"),
    ((*TINY, "--model-class", "no.such:Class"), 2, "No module named"),
    ((*TINY, "--model-class", "collections:Nope"), 2, "cannot be imported"),
    ((*TINY, "--model-class", "broken:Class"), 2, "ZeroDivisionError"),
    ((*TINY, "--model-class", "quits:Class"), 2, "sys.exit(0)"),
    ((*TINY, "--model-class", "quits:Class"), 2, "quits.py:3"),
    (("smoke", *TINY[1:], "--compute-loss-func", "quits_later:loss"), 2, "quits_later.py:2"),
    ((*TINY, "--config-override", "nope=1"), 2, "no field 'nope'"),
    ((*TINY, "--config-override", "attention_dropout=0.1"), 2, "cannot be overridden"),
    ((*TINY, "--config-override", "hidden_size=["), 2, "YAML"),
    ((*TINY, "--dataset", "absent.jsonl"), 2, "There is no file absent.jsonl"),
    ((*TINY, "--dataset", "empty.txt"), 2, "is empty"),
    ((*TINY, "--dataset", "notes.doc"), 2, "has none of the endings"),
    ((*TINY, "--dataset", "broken.jsonl"), 2, "not valid JSON in line 2"),
    ((*TINY, "--dataset", "text.jsonl"), 2, "has 1 samples"),
    ((*TINY, "--dataset", "text.jsonl", "--text-column", "body"), 2, "no column 'body'"),
    ((*TINY, "--dataset", "text.jsonl", "--split", "test"), 2, "--split goes with a dataset on the hub"),
    ((*TINY, "--dataset", "org/absent"), 4, "HF_HUB_OFFLINE"),
    ((*TINY, "--device", "cuda:99"), 2, "The Trainer trains on the first GPU that it sees, not on cuda:99."),
    ((*TINY, "--device", "abacus"), 2, "The device 'abacus' cannot be used"),
    ((*TINY, "--optim", "no_such"), 2, "no_such"),
    ((*TINY, "--learning-rate", "-1"), 2, "must be above 0"),
    ((*TINY, "--max-length", "4"), 2, "must be at least 8"),
    ((*TINY, "-k", "1,3"), 2, "cannot be divided"),
    ((*TINY, "-k", "two"), 2, "valid integer"),
    ((*TINY, "--loss-kwargs", "maybe"), 2, "'on' or 'off'"),
    ((*TINY, "--per-device-train-batch-size", "2", "--effective-batch-size", "4"), 2, "exclude each other"),
    ((*TINY, "--config-override", "novalue"), 2, "key=value"),
    ((*TINY, "--dtype", "int8"), 2, "bfloat16"),
    ((*TINY, "--bf16", "--fp16"), 2, "exclude each other"),
    ((*TINY, "--seed", "many"), 2, "valid integer"),
    (("run", "--config", "bad.yaml"), 2, "not valid YAML"),
    (("run", "--config", "list.yaml"), 2, "not a mapping"),
    (("run", "--config", "unknown.yaml"), 2, "did you mean 'max_steps'"),
    (("run", "--config", "wrong.yaml"), 2, "seed"),
    (("run", "--out", "locked"), 2, "cannot be written"),
    (("run", "--out", "x" * 300), 2, "cannot be written"),
    (("run", "--out", "locked/below"), 2, "cannot be written"),
    (("run", "--out", "run"), 2, "holds a record already"),
    (("run", "--out", "run", "--resume"), 2, "no record of gacheck"),
    (("run", "--force"), 2, "needs out"),
    (("run", "--out", "new", "--force", "--resume"), 2, "exclude each other"),
    (("smoke", "--max-steps", "3"), 2, "No such option"),
    (("smoke", "-k", "2"), 2, "No such option"),
    (("smoke", "--model", "tiny:lama"), 2, "llama"),
    (("smoke", "--model", "./nowhere"), 2, "There is no model at ./nowhere"),
    (("smoke", "--config", "absent.yaml"), 2, "cannot be read"),
    (("smoke", "--effective-batch-size", "6"), 2, "cannot be divided"),
    (("smoke", "--dataset", "absent.txt"), 2, "There is no file"),
    (("report",), 2, "There is no run under gacheck-runs/"),
    (("report", "absent"), 2, "absent"),
    (("report", "run"), 2, "no record of gacheck"),
    (("report", "run", "run"), 2, "unexpected extra argument"),
    (("report", "run", "--format", "pdf"), 2, "pdf"),
    (("report", "run", "--strict"), 2, "--exit-code"),
    (("env", "--json"), 2, "No such option"),
    (("env", "torch"), 2, "unexpected extra argument"),
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, content in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    monkeypatch.chdir(tmp_path)
    # Nothing is in the cache, whoever runs this.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path.with_name("no-cache")))
    return tmp_path


def contents(folder: Path) -> dict[str, bytes | None]:
    found = {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}
    # Python's own, of the module that is imported from the working folder.
    return {name: content for name, content in found.items() if "__pycache__" not in name}


def exit_code_of(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(list(arguments))
    return int(caught.value.code or 0)


@pytest.mark.parametrize(
    ("arguments", "exit_code", "said"), WRONG, ids=lambda value: " ".join(value) if isinstance(value, tuple) else ""
)
def test_wrong_input(
    folder: Path, capfd: pytest.CaptureFixture[str], arguments: tuple[str, ...], exit_code: int, said: str
) -> None:
    before = contents(folder)

    assert exit_code_of(*arguments) == exit_code
    shown = capfd.readouterr()
    assert said in re.sub(r"\s+", " ", shown.err)
    assert "Traceback" not in shown.err + shown.out
    if arguments:
        assert shown.out == ""
        assert [line[:7] for line in shown.err.splitlines()] == ["gacheck", "  why  ", "  do   "]
    assert contents(folder) == before


@pytest.mark.parametrize("version", [None, "4.45.2"])
@pytest.mark.parametrize("command", ["run", "smoke"])
def test_a_transformers_without_the_flag(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str, version: str | None
) -> None:
    monkeypatch.setattr(measuring, "installed_version", lambda name: version)
    before = contents(folder)

    assert exit_code_of(command) == 2
    shown = capsys.readouterr()
    assert "gacheck needs 4.46 or newer" in shown.err
    assert shown.out == ""
    assert contents(folder) == before


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder.chmod(0o555)
    try:
        assert exit_code_of("run") == 2
    finally:
        folder.chmod(0o755)
    assert "cannot be written" in capsys.readouterr().err
