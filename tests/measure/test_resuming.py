"""A run goes on under the same conditions alone: what differs is named, also where all passes are done."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from gacheck.cli import main
from gacheck.errors import ConfigError
from gacheck.measure.models.building import build_model
from gacheck.measure.models.stand_in import tiny_config
from gacheck.measure.resuming import check_same_experiment
from gacheck.record.environment import Environment
from gacheck.record.journal import load_run, save_record
from gacheck.record.run import Fingerprints
from tests.builders import run_record

PRINTS = Fingerprints(weights="w", config="c", code={"losses": "1", "helpers": "2"})
PARTS = ("config", "data", "model", "hardware", "environment", "fingerprints")


@pytest.mark.parametrize(
    ("part", "key", "value", "told"),
    [
        ("config", "seed", 1, "its --seed was 0, now it is 1"),
        ("data", "fingerprint", "other", "its data.fingerprint was '000"),
        ("model", "num_parameters", 5, "its model.num_parameters was 123456, now it is 5"),
        ("hardware", "device", "cuda:0", "its hardware.device was 'cpu', now it is 'cuda:0'"),
        ("environment", "packages", {"transformers": "4.50.3"}, "now it is {'transformers': '4.50.3'}"),
        ("environment", "python", "3.9.1", "now it is '3.9.1'"),
        ("fingerprints", "weights", "x", "the weights of the model are others than then"),
        ("fingerprints", "config", "x", "the config of the model is another than then"),
        ("fingerprints", "code", {"losses": "x", "helpers": "2"}, "the source of the module losses was edited since"),
        ("fingerprints", "code", {"losses": "1"}, "the module helpers was used then, and is not now"),
        ("fingerprints", "code", {**PRINTS.code, "new": "3"}, "the module new was used not then, and is now"),
    ],
)
def test_a_run_is_not_resumed_under_other_conditions(part: str, key: str, value: object, told: str) -> None:
    earlier = run_record([]).model_copy(update={"fingerprints": PRINTS})
    same = {name: getattr(earlier, name) for name in PARTS}

    check_same_experiment(earlier, same)
    with pytest.raises(ConfigError) as caught:
        check_same_experiment(earlier, {**same, part: same[part].model_copy(update={key: value})})
    assert caught.value.exit_code == 2
    assert told in caught.value.what


def test_a_record_without_fingerprints_is_not_resumed() -> None:
    with pytest.raises(ConfigError, match="cannot be told whether weights and code are the same"):
        check_same_experiment(run_record([]), {"fingerprints": PRINTS})


LOSS = """
import helpers
def loss(outputs, labels, num_items_in_batch=None):
    import torch
    logits = outputs.logits[:, :-1].flatten(0, 1)
    total = torch.nn.functional.cross_entropy(logits, labels[:, 1:].flatten(), reduction="sum")
    return helpers.SCALE * total / (num_items_in_batch or 1)
"""


def run(*options: str) -> int:
    small = ["--effective-batch-size", "4", "--max-steps", "1", "--max-length", "16", "-k", "1,2", "--exit-zero"]
    for name in ("my_loss", "helpers"):  # every command is a process of its own
        sys.modules.pop(name, None)
    with pytest.raises(SystemExit) as ended:
        main(["run", "--model", "model", *small, "--compute-loss-func", "my_loss:loss", "--out", "out", *options])
    return int(ended.value.code or 0)


@pytest.mark.parametrize("finished", [True, False], ids=["finished", "broken off"])
@pytest.mark.usefixtures("no_traces")
def test_neither_other_weights_nor_other_code_are_resumed(
    finished: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    build_model(tiny_config("llama", 300), seed=0).save_pretrained("model")
    Path("my_loss.py").write_text(LOSS)
    Path("helpers.py").write_text("SCALE = 1\n")
    assert run() == 0
    whole = load_run(Path("out"))
    assert whole.fingerprints is not None
    assert {"my_loss", "helpers"} <= whole.fingerprints.code.keys()
    if not finished:
        save_record(whole.model_copy(update={"passes": whole.passes[:2]}), Path("out"))

    # A comment in what the loss itself imports; then the same code again, and other weights.
    Path("helpers.py").write_text("SCALE = 1  # per token\n")
    capsys.readouterr()
    assert run("--resume") == 2
    assert "the source of the module helpers was edited since" in capsys.readouterr().err
    Path("helpers.py").write_text("SCALE = 1\n")
    build_model(tiny_config("llama", 300), seed=1).save_pretrained("model")
    assert run("--resume") == 2
    assert "the weights of the model are others than then" in capsys.readouterr().err
    build_model(tiny_config("llama", 300), seed=0).save_pretrained("model")
    assert run("--resume") == 0
    again = load_run(Path("out"))
    assert [p.steps for p in again.passes] == [p.steps for p in whole.passes]


def test_another_transformers_is_refused_also_where_all_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from gacheck.record.environment import read_environment
    from tests.fakes import FakeSession

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("gacheck.measure.session.Session", FakeSession)
    small = ["run", "--model", "tiny:llama", "-k", "1,2", "--effective-batch-size", "8", "--max-steps", "1"]
    with pytest.raises(SystemExit):
        main([*small, "--out", "out", "--exit-zero"])
    whole, before = load_run(Path("out")), read_environment()
    packages = {**before.packages, "transformers": "4.46.0"}
    save_record(whole.model_copy(update={"environment": _with(before, packages)}), Path("out"))
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main([*small, "--out", "out", "--exit-zero", "--resume"])

    assert whole.complete
    assert ended.value.code == 2
    assert "'transformers': '4.46.0'" in capsys.readouterr().err


def _with(environment: Environment, packages: dict[str, str]) -> Environment:
    return environment.model_copy(update={"packages": packages})
