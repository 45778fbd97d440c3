"""A run that is asked to end, or killed: what it says, what it keeps, and what it leaves behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gacheck import signals
from gacheck.cli import main
from gacheck.commands.folders import HOLDER, only_writer
from gacheck.commands.folders import LOCK as LOCK_OF_A_RUN
from gacheck.record.journal import load_run
from gacheck.scratch import LOCK, PREFIX, scratch_folder
from gacheck.signals import Stopped, as_interrupts


def heed_all() -> None:
    """Ignore no signal: who runs the tests, by nohup or in the background, may."""
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)


@contextmanager
def running(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Start a run, and wait until it has saved its first pass."""
    command = [sys.executable, "-m", "gacheck", "run", "tiny:llama", "--max-steps", "50", "--out", "run"]
    environment = {**os.environ, "TMPDIR": str(folder / "tmp"), "OMP_NUM_THREADS": "1"}
    (folder / "tmp").mkdir(exist_ok=True)
    with subprocess.Popen(
        command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True, preexec_fn=heed_all
    ) as process:
        try:
            until = time.monotonic() + 120
            while not (folder / "run" / "record.json").exists():
                assert process.poll() is None, process.communicate()
                assert time.monotonic() < until
                time.sleep(0.05)
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGHUP", 129), ("SIGINT", 130)])
def test_a_signal_ends_a_run_in_words_and_leaves_nothing_but_the_record(tmp_path: Path, name: str, code: int) -> None:
    with running(tmp_path) as process:
        process.send_signal(getattr(signal, name))
        _, said = process.communicate(timeout=60)

    assert process.returncode == code, said
    assert "go on with:\n  gacheck run --model tiny:llama" in said
    assert said.rstrip().endswith("--resume")
    assert "Traceback" not in said
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["record.json"]
    assert not list((tmp_path / "tmp").glob(f"{PREFIX}*"))
    assert load_run(tmp_path / "run").missing


def test_one_run_writes_in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    resume = ["run", "tiny:llama", "--max-steps", "50", "--out", "run", "--resume"]
    with running(tmp_path) as process:
        with pytest.raises(SystemExit) as ended:
            main(resume)
        assert ended.value.code == 2
        left = {path.name for path in (tmp_path / "run").iterdir()}
        said = (tmp_path / "run" / HOLDER).read_text()
        process.kill()
        process.wait()

    assert (left, said) == ({"record.json", LOCK_OF_A_RUN, HOLDER}, str(process.pid))
    # Nothing that a run that was killed has left keeps another from writing.
    (tmp_path / "run" / ".gacheck-left").touch()
    with only_writer(tmp_path / "run"):
        assert not (tmp_path / "run" / ".gacheck-left").exists()
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["record.json"]


def test_what_a_killed_run_leaves_is_removed_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(tmp_path) as process:
        process.kill()
        process.wait()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (left,) = (tmp_path / "tmp").glob(f"{PREFIX}*")
    (tmp_path / "tmp" / f"{PREFIX}of-another-program").mkdir()

    with scratch_folder() as mine, scratch_folder() as other:
        assert not left.exists()
        assert (mine / LOCK).exists()
        assert other != mine

    assert [path.name for path in (tmp_path / "tmp").glob(f"{PREFIX}*")] == [f"{PREFIX}of-another-program"]


def test_a_signal_that_is_ignored_or_handled_stays_so() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    others = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        with as_interrupts():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            with pytest.raises(Stopped) as stopped:
                signal.raise_signal(signal.SIGTERM)
        assert stopped.value.number == signal.SIGTERM
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before)
        signal.signal(signal.SIGTERM, others)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_that_comes_while_an_object_is_deleted_is_not_lost(number: signal.Signals) -> None:
    class Late:
        def __del__(self) -> None:
            signal.raise_signal(number)

    def delete_and_wait() -> None:
        Late()
        for _ in range(100):
            time.sleep(0.05)

    before = signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    try:
        with as_interrupts(), pytest.raises(KeyboardInterrupt):
            delete_and_wait()
    finally:
        signal.signal(number, before)


WAITS = """
import os, signal, time
from collections import deque
from functools import partial
from operator import call
from gacheck import signals

signals.GRACE_SECONDS = 0.3
with signals.as_interrupts():
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    # As in native code: the interpreter, which would raise, is not come to between the two calls.
    deque(map(call, [partial(os.write, 1, b"waits\\n"), partial(time.sleep, 60)]), maxlen=0)
"""


def test_a_process_that_waits_in_native_code_ends_too() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WAITS], stdout=subprocess.PIPE, text=True, preexec_fn=heed_all
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waits\n"
        started = time.monotonic()
        process.terminate()
        assert process.wait(30) == 143
    assert 0.3 <= time.monotonic() - started < 20


def test_who_handles_a_signal_in_another_way_is_left_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "GRACE_SECONDS", 0.0)
    ended: list[int] = []
    monkeypatch.setattr(os, "_exit", ended.append)
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        with as_interrupts():
            signal.signal(signal.SIGTERM, lambda number, frame: None)
            signal.raise_signal(signal.SIGTERM)
            time.sleep(0.2)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert ended == []


def test_the_program_runs_in_a_thread_too(capsys: pytest.CaptureFixture[str]) -> None:
    codes: list[object] = []

    def run() -> None:
        try:
            main(["--version"])
        except SystemExit as end:
            codes.append(end.code)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(60)

    assert codes == [0]
    assert capsys.readouterr().out.startswith("gacheck ")
