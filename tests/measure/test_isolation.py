"""A model that aborts, exits, eats memory or hangs costs its passes alone: the run says so, and its record remains."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gacheck.cli import main
from gacheck.config import ExperimentConfig
from gacheck.errors import ModelError
from gacheck.measure.isolation.processes import available_bytes, how_it_ended
from gacheck.measure.isolation.session import IsolatedSession
from gacheck.record.journal import load_run
from gacheck.record.plan import PassSpec
from gacheck.record.run import RunRecord
from gacheck.rules.facts import Flag

TRAINERS = """
import os, sys, time
import transformers

class Base(transformers.Trainer):
    def training_step(self, *args, **kwargs):
        self.harm()
        return super().training_step(*args, **kwargs)
    def harm(self):
        pass

class Harmless(Base):
    pass
class AbortsAtTwo(Base):
    def harm(self):
        if self.args.gradient_accumulation_steps == 2:
            os.abort()
class Aborts(Base):
    def harm(self):
        os.abort()
class Exits(Base):
    def harm(self):
        os._exit(0)
class SaysExit(Base):
    def harm(self):
        sys.exit(0)
class Eats(Base):
    def harm(self):
        import torch
        self.much = torch.ones(1 << 34)
class IsKilled(Base):
    def harm(self):
        os.kill(os.getpid(), 9)
class Hangs(Base):
    def harm(self):
        open(f"hangs-{os.getpid()}", "w").close()
        time.sleep(600)
"""
SMALL = ("-k", "1,2", "--effective-batch-size", "4", "--max-steps", "1", "--max-length", "16")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    Path("harmful.py").write_text(TRAINERS)
    yield tmp_path
    sys.modules.pop("harmful", None)


def run(trainer: str, *options: str) -> tuple[int, RunRecord]:
    with pytest.raises(SystemExit) as ended:
        main(["run", "tiny:llama", *SMALL, "--trainer-class", f"harmful:{trainer}", "--out", trainer, *options])
    return int(ended.value.code or 0), load_run(Path(trainer))


@pytest.mark.parametrize(
    ("trainer", "code", "reason"),
    [
        ("Aborts", 2, "its process was ended by SIGABRT"),
        ("Exits", 2, "its process ended itself with exit code 0"),
        ("SaysExit", 2, "SaysExit.harm called sys.exit(0)"),
        ("Eats", 4, "allocate memory"),
        ("IsKilled", 4, "its process was killed (SIGKILL), most likely out of memory"),
    ],
)
def test_what_ends_every_pass_ends_the_run_in_words(
    trainer: str, code: int, reason: str, capfd: pytest.CaptureFixture[str]
) -> None:
    ended, record = run(trainer, "--isolate", "--memory-limit", "2")

    assert ended == code
    assert [p.id for p in record.passes] == ["k1-on", "k1-off"]
    assert all(p.error is not None and reason in p.error.message for p in record.passes)
    said = capfd.readouterr().err
    assert "The passes k1-on and k1-off failed alike" in said
    assert "Traceback" not in said


def test_the_passes_beside_one_that_dies_are_measured(capfd: pytest.CaptureFixture[str]) -> None:
    code, record = run("AbortsAtTwo", "--isolate")

    assert code == 3
    assert [(p.id, p.status) for p in record.passes] == [
        ("k1-on", "ok"),
        ("k1-off", "ok"),
        ("k2-on", "failed"),
        ("k2-off", "failed"),
    ]
    assert "k2-on did not come to its end: its process was ended by SIGABRT" in " ".join(capfd.readouterr().out.split())


@pytest.mark.usefixtures("no_traces")
def test_what_is_measured_in_a_child_is_what_is_measured_here() -> None:
    _, isolated = run("Harmless", "--isolate")
    _, here = run("Harmless", "--force")

    assert isolated.passes[0].steps
    assert [p.steps for p in isolated.passes] == [p.steps for p in here.passes]
    assert (isolated.oracle, isolated.model, isolated.data) == (here.oracle, here.model, here.data)
    assert isolated.fingerprints is not None
    assert here.fingerprints is not None
    assert isolated.fingerprints.weights == here.fingerprints.weights


def config(trainer: str, **options: object) -> ExperimentConfig:
    small = {"gradient_accumulation_steps": "1,2", "effective_batch_size": 4, "max_steps": 2, "max_length": 16}
    return ExperimentConfig.model_validate(
        {"model": "tiny:llama", "trainer_class": f"harmful:{trainer}", **small, **options}
    )


def test_a_pass_that_hangs_is_ended_where_a_limit_is_set() -> None:
    with IsolatedSession(config("Hangs"), seconds=10) as session:
        oracle = session.ask_oracle()
        record = session.run_pass(PassSpec(1, Flag.ON), oracle, lambda: None)

    assert record.status == "failed"
    assert record.error is not None
    assert record.error.message == "it had not ended after 10 s, the limit of --pass-timeout"


def test_every_step_is_told_as_it_is_done() -> None:
    steps: list[int] = []
    with IsolatedSession(config("Harmless")) as session:
        record = session.run_pass(PassSpec(2, Flag.ON), session.ask_oracle(), lambda: steps.append(1))

    assert (record.status, len(steps)) == ("ok", 2)


def test_where_the_right_answer_cannot_be_computed_the_passes_find_out_by_themselves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with IsolatedSession(config("Harmless"), seconds=0.0) as session:
        oracle = session.ask_oracle()
        assert oracle.rows == ()
        monkeypatch.setattr(session, "_seconds", None)
        record = session.run_pass(PassSpec(2, Flag.ON), oracle, lambda: None)

    assert record.status == "ok"
    assert record.steps[0].micro_batches[0].observation is not None


def test_an_error_in_words_comes_home_as_it_is() -> None:
    with pytest.raises(ModelError, match="has no Nothing"):
        IsolatedSession(config("Nothing"))


@pytest.mark.parametrize("options", [("--memory-limit", "2"), ("--isolate", "--memory-limit", "0")], ids=" ".join)
def test_a_limit_goes_with_a_child_and_is_above_0(options: tuple[str, ...], capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["run", "tiny:llama", *options])
    assert ended.value.code == 2
    assert "--memory-limit" in capfd.readouterr().err


def test_how_a_process_ended_is_said_in_words() -> None:
    assert how_it_ended(7) == "its process ended itself with exit code 7"
    assert how_it_ended(-11) == "its process was ended by SIGSEGV"
    assert how_it_ended(-200) == "its process was ended by signal 200"
    assert (available_bytes() or 1) > 0


def test_a_child_that_hangs_ends_with_the_program_also_where_that_is_killed(here: Path) -> None:
    command = [sys.executable, "-m", "gacheck", "run", "tiny:llama", *SMALL, "--trainer-class", "harmful:Hangs"]
    with subprocess.Popen([*command, "--isolate", "--out", "out"], stderr=subprocess.DEVNULL) as program:
        child = _waited_for(lambda: next(here.glob("hangs-*"), None))
        assert child is not None
        program.kill()
    process = Path("/proc") / child.name.removeprefix("hangs-")

    assert _waited_for(lambda: not process.exists() or "Z" in (process / "stat").read_text().split()[2])


def _waited_for(found: Callable[[], Any]) -> Any:
    until = time.monotonic() + 120
    while not found() and time.monotonic() < until:
        time.sleep(0.1)
    return found()
