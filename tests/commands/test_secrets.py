"""Secrets that are planted wherever a run or a training can have them: none is in the folder, nor on stdout."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from gacheck.attached.record import record_of
from gacheck.cli import main
from gacheck.measure.models.building import build_model
from gacheck.measure.models.stand_in import tiny_config
from gacheck.record.journal import save_record
from gacheck.rules.facts import CodeLocation
from tests.commands.test_attach import training

TOKEN = "hf_" + "abcdefghijklmnop" * 2
PASSWORD = "correct-horse"
WORTH_HIDING = (TOKEN, PASSWORD, "swordfish", "home-of-ada")
FORMATS = {
    "run": ("terminal", "html", "json", "markdown", "csv", "png", "svg"),
    "attach": ("terminal", "html", "json", "markdown", "csv", "png", "svg"),
}
TRAINER = f"""
import os
import transformers
class Mine(transformers.Trainer):
    def compute_loss(self, model, inputs, *args, **kwargs):
        if self.model_accepts_loss_kwargs:
            return super().compute_loss(model, inputs, *args, **kwargs)
        raise ValueError(
            f"401 {TOKEN} {{os.environ['DB_PASSWORD']}} for https://ada:swordfish@host, api_key=swordfish, "
            f"k={{self.args.gradient_accumulation_steps}} in {{os.path.abspath(__file__)}}"
        )
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home-of-ada"
    (folder / "work").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("DB_PASSWORD", PASSWORD)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "mine", raising=False)  # of another test
    monkeypatch.chdir(folder / "work")
    return folder


def assert_clean(name: str, content: bytes) -> None:
    found = [secret for secret in WORTH_HIDING if secret.encode() in content]
    assert not found, (name, found)


def show_in_every_format(kind: str, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    for name in FORMATS[kind]:
        for arguments in (["report", "out", "--format", name], ["report", "out", "--format", name, "-o", f"x.{name}"]):
            with pytest.raises(SystemExit):
                main(arguments)
            assert_clean(name, capfdbinary.readouterr().out)
        assert_clean(f"x.{name}", Path(f"x.{name}").read_bytes())


@pytest.mark.usefixtures("no_traces")
def test_of_a_run(home: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    name = f"{home}/models/of-{PASSWORD}"
    build_model(tiny_config("llama", 300), seed=0).save_pretrained(name)
    Path("mine.py").write_text(TRAINER)
    small = ["--effective-batch-size", "4", "--max-steps", "1", "--max-length", "16", "-k", "1,2", "--exit-zero"]
    command = ["run", "--model", name, "--trainer-class", "mine:Mine", *small, "--out", "out"]
    with pytest.raises(SystemExit) as ended:
        main([*command, "--json"])
    said = capfdbinary.readouterr()
    assert ended.value.code in (0, None), said.err.decode()
    assert_clean("stdout", said.out)
    for path in Path("out").iterdir():
        assert_clean(path.name, path.read_bytes())
    record = json.loads(Path("out/record.json").read_text())
    assert record["config"]["model"] == "~/models/of-***"
    # The verdict is another matter: what failed is still told.
    (message,) = {p["error"]["message"][:50] for p in record["passes"] if p["error"]}
    assert message == "Mine.compute_loss raised ValueError: 401 *** *** f"
    show_in_every_format("run", capfdbinary)

    # What is hidden does not keep it from being resumed.
    with pytest.raises(SystemExit) as ended:
        main([*command, "--resume"])
    assert ended.value.code in (0, None), capfdbinary.readouterr().err.decode()


def test_of_an_attached_training(home: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    told = replace(
        training(),
        model_name=f"{home}/models/mine",
        unseen=(f"boom: {TOKEN}",),
        tried_refused=f"num_items_in_batch is not for {PASSWORD}",
        tried=None,
        loss_location=(CodeLocation(f"{home}/work/modeling.py", 3, "forward"),),
    )
    typed = ("python", f"{home}/work/train.py", "--hub_token", "swordfish", f"--password={PASSWORD}", f"db.url={TOKEN}")
    Path("out").mkdir()
    save_record(record_of(told, ("gacheck", "attach", "--", *typed)), Path("out"))
    assert_clean("record.json", Path("out/record.json").read_bytes())
    record = json.loads(Path("out/record.json").read_text())
    hidden = ["python", "~/work/train.py", "--hub_token", "***", "--password=***", "db.url=***"]
    assert record["command"][3:] == hidden
    show_in_every_format("attach", capfdbinary)
