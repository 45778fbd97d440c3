"""`gacheck run` as a person meets it: exit codes, files, wrong input. The trainings are faked but for one."""

from __future__ import annotations

import io
import json
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from gacheck.cli import main
from gacheck.record.journal import load_record, load_run, save_record
from gacheck.record.parts import OracleRecord
from tests.fakes import FakeSession


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., int]:
    """Run the program in an empty folder and return its exit code; no picture is drawn unless it is asked for."""
    import gacheck.measure.session
    import gacheck.reporters.picture

    render_picture = gacheck.reporters.picture.render_picture
    monkeypatch.setattr(gacheck.measure.session, "Session", FakeSession)
    monkeypatch.setattr(FakeSession, "ran", [])
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str, on: str = "token_mean", off: str = "mean_of_means", draws: bool = False) -> int:
        monkeypatch.setattr(FakeSession, "rules", {"on": on, "off": off})
        render = render_picture if draws else lambda analysis: b"a picture"
        monkeypatch.setattr(gacheck.reporters.picture, "render_picture", render)
        monkeypatch.setattr(sys, "argv", ["gacheck", *arguments])
        with pytest.raises(SystemExit) as caught:
            main(list(arguments))
        code = caught.value.code
        return int(code) if code is not None else 0

    return call


SMALL = ("run", "--effective-batch-size", "8", "--max-steps", "2")


@pytest.mark.parametrize(
    ("on", "off", "options", "exit_code"),
    [
        ("token_mean", "mean_of_means", (), 0),
        ("sum_of_means", "mean_of_means", (), 1),
        ("sum_of_means", "mean_of_means", ("--exit-zero",), 0),
        ("unshifted_token_mean", "mean_of_means", (), 0),
        ("unshifted_token_mean", "mean_of_means", ("--strict",), 1),
        ("refused", "mean_of_means", (), 1),
        ("token_mean", "mean_of_means", ("--loss-kwargs", "off"), 3),
        ("memory", "memory", (), 4),
    ],
)
def test_exit_codes(run: Callable[..., int], on: str, off: str, options: tuple[str, ...], exit_code: int) -> None:
    assert run(*SMALL, *options, on=on, off=off) == exit_code


def test_a_run_leaves_record_and_picture_and_says_where(
    run: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    run(*SMALL, on="sum_of_means", draws=True)

    (folder,) = Path("gacheck-runs").iterdir()
    shown = capsys.readouterr()
    assert {path.name for path in folder.iterdir()} == {"record.json", "loss.png"}
    assert (folder / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert "SCALED_BY_ACCUMULATION" in shown.out
    assert str(folder) in shown.out
    assert re.fullmatch(r"(pass \d/8  k=\d flag (on|off)  first-step loss \S+, \S+ s\n){8}", shown.err)
    assert load_record(folder).complete


def test_json_is_alone_on_stdout(run: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    run(*SMALL, "--json")

    shown = capsys.readouterr()
    assert json.loads(shown.out)["verdict"]["code"] == "OK"
    assert "OK    the loss does not depend" in shown.err


def test_quiet_prints_the_verdict_alone(run: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    run(*SMALL, "--quiet")

    assert capsys.readouterr().out.startswith("OK")


def test_a_terminal_without_unicode_gets_ascii(run: Callable[..., int], monkeypatch: pytest.MonkeyPatch) -> None:
    bare = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", bare)

    assert run(*SMALL, on="sum_of_means") == 1
    bare.flush()
    assert b"SCALED_BY_ACCUMULATION" in bare.buffer.getvalue()  # type: ignore[attr-defined]


def test_without_matplotlib_the_verdict_is_said_and_the_record_saved(
    run: Callable[..., int], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "gacheck.reporters.picture.drawing", raising=False)

    assert run(*SMALL, "--out", "here", on="sum_of_means", draws=True) == 4
    shown = capsys.readouterr()
    assert "SCALED_BY_ACCUMULATION" in shown.out
    assert "matplotlib cannot be imported" in shown.err
    assert "here/record.json is saved" in shown.err
    assert "gacheck report here --format png -o here/loss.png" in shown.err
    assert load_record(Path("here")).complete


@pytest.mark.parametrize("command", ["run", "smoke", "selftest"])
def test_what_takes_long_asks_for_its_output_before_it_begins(
    run: Callable[..., int], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setattr(sys, "stdout", None)

    assert run(command) == 4
    assert "Standard output is closed." in capsys.readouterr().err
    assert FakeSession.ran == []
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize("options", [(), ("--quiet",), ("--json",)], ids=" ".join)
def test_the_terminal_is_heeded(
    run: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.delenv("NO_COLOR", raising=False)

    run(*SMALL, *options, "--out", "x", on="sum_of_means")
    shown = capsys.readouterr()
    _, verdict = (shown.err if options == ("--json",) else shown.out).split("\x1b[1;31mFAIL\x1b[0m")
    assert 50 < max(map(len, verdict.splitlines())) <= 60
    # Colours alone: no bar of progress that would be drawn over.
    assert "\x1b" not in shown.out.replace("\x1b[1;31mFAIL\x1b[0m", "") + shown.err.replace("\x1b[1;31mFAIL\x1b[0m", "")
    assert options != ("--json",) or json.loads(shown.out)


def test_a_run_that_crashes_before_it_began_leaves_no_folder(
    run: Callable[..., int], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(self: FakeSession) -> OracleRecord:
        raise RuntimeError("planted")

    monkeypatch.setattr(FakeSession, "ask_oracle", crash)

    assert run(*SMALL) == 4
    assert "RuntimeError: planted" in capsys.readouterr().err
    assert list(Path().iterdir()) == []


def test_two_runs_in_a_minute_have_two_folders(run: Callable[..., int]) -> None:
    run(*SMALL)
    run(*SMALL)

    assert len(list(Path("gacheck-runs").iterdir())) == 2


def test_nothing_is_overwritten_unless_told(run: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    run(*SMALL, "--out", "here")
    before = Path("here/record.json").read_bytes()

    assert run(*SMALL, "--out", "here") == 2
    assert "--force" in capsys.readouterr().err
    assert Path("here/record.json").read_bytes() == before
    assert run(*SMALL, "--out", "here", "--force", on="sum_of_means") == 1
    assert Path("here/record.json").read_bytes() != before


def test_resume_runs_what_is_missing(run: Callable[..., int]) -> None:
    run(*SMALL, "--out", "here")
    whole = load_run(Path("here"))
    save_record(whole.model_copy(update={"passes": whole.passes[:5]}), Path("here"))
    FakeSession.ran.clear()

    assert run(*SMALL, "--out", "here", "--resume") == 0
    assert FakeSession.ran == ["k4-off", "k8-on", "k8-off"]
    FakeSession.ran.clear()
    assert run(*SMALL, "--out", "here", "--resume") == 0
    assert FakeSession.ran == []


def test_an_interrupted_run_says_how_to_go_on(
    run: Callable[..., int], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*arguments: object) -> NoReturn:
        raise KeyboardInterrupt

    Path("options.yaml").write_text("seed: 3\nout: my runs\n")
    with monkeypatch.context() as patch:
        patch.setattr(FakeSession, "run_pass", interrupt)
        assert run(*SMALL, "--config", "options.yaml", "--force", "--strict") == 130
    said = capsys.readouterr().err.splitlines()[-1].strip()
    measured = "gacheck run --model tiny:gemma3 --effective-batch-size 8 --max-steps 2 --seed 3"
    assert said == f"{measured} --out 'my runs' --strict --resume"

    assert run(*shlex.split(said)[1:]) == 0
    assert load_record(Path("my runs")).command == tuple(measured.split())


def test_a_run_is_not_resumed_under_other_options(run: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    run(*SMALL, "--out", "here")
    capsys.readouterr()

    assert run(*SMALL, "--seed", "1", "--out", "here", "--resume") == 2
    shown = capsys.readouterr()
    assert ("--seed was 0, now it is 1" in shown.err, shown.out) == (True, "")


def test_a_killed_run_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kill the real thing after its first passes; resuming redoes at most the one that it was at."""
    tiny = ("--effective-batch-size", "4", "--max-length", "32", "--max-steps", "2", "-k", "1,2,4")
    command = ["run", "--model", "tiny:llama", *tiny, "--out", "here"]
    path = tmp_path / "here" / "record.json"

    def num_passes() -> int:
        return len(load_record(path).passes) if path.exists() else 0

    child = subprocess.Popen([sys.executable, "-m", "gacheck", *command], cwd=tmp_path)
    deadline = time.monotonic() + 300
    while num_passes() < 2:
        assert child.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait()
    kept = load_record(path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        main([*command, "--resume", "--json"])

    assert 2 <= len(kept.passes) < 6
    assert end.value.code == 0
    assert load_record(path).passes[: len(kept.passes)] == kept.passes
    assert load_record(path).complete
