"""Surroundings that fail: a full disk, a folder that cannot be written, a second writer, no stdout, no network."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from gacheck.commands.folders import only_writer
from gacheck.errors import GacheckError
from gacheck.record.checksum import Integrity
from gacheck.record.journal import RECORD_NAME, load_record, save_record
from tests.builders import full_run, pass_record, run_record
from tests.torture.outcome import Outcome, problem_of

ROOT = Path(__file__).resolve().parents[2]
TINY = ("-k", "1,2", "--effective-batch-size", "4", "--max-steps", "1", "--max-length", "16", "--exit-zero")
PR_CAPBSET_DROP, CAP_DAC_OVERRIDE = 24, 1


def _environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("FORCE_COLOR", "GITHUB_ACTIONS")}
    return {**kept, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **more}


def _run(
    words: Sequence[str],
    folder: Path,
    *,
    stdout: int | None = None,
    before: Callable[[], None] | None = None,
    **more: str,
) -> tuple[int, str, str]:
    """Start the program by itself; return its exit code, stdout and stderr."""
    done = subprocess.run(
        [sys.executable, "-m", "gacheck", *words],
        cwd=folder,
        env=_environment(**more),
        stdout=subprocess.PIPE if stdout is None else stdout,
        stderr=subprocess.PIPE,
        preexec_fn=before,
        check=False,
        timeout=300,
    )
    return done.returncode, (done.stdout or b"").decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")


def of_a_full_disk(most: int, folder: Path) -> Outcome:
    """Let no file grow beyond so many bytes while a record is saved or a run measures."""
    outcome = Outcome(how="RLIMIT_FSIZE, and /dev/full for stdout")
    old = save_record(run_record([]), folder).read_bytes()
    bigger = full_run("sum_of_means", "mean_of_means")
    sizes = [len(old) * i // most for i in range(1, most + 1)]
    for size in sizes:
        with outcome.one(f"a save with {size} bytes left") as problems, _no_file_beyond(size):
            with contextlib.suppress(GacheckError):
                save_record(bigger, folder)
            if load_record(folder).integrity is not Integrity.WHOLE:
                problems.append("the record is not whole")
            if [path.name for path in folder.iterdir()] != [RECORD_NAME]:
                problems.append("something is left over")
    with outcome.one("a run whose record does not fit") as problems:
        limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))  # noqa: E731
        code, out, err = _run(("run", "tiny:llama", *TINY, "--out", "run"), folder, before=limit)
        problems += [problem_of(code, out + err), "" if code == 4 else f"exit code {code}: {err[-300:]}"]
    return outcome


@contextlib.contextmanager
def _no_file_beyond(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def of_a_folder_that_cannot_be_written(most: int, folder: Path) -> Outcome:
    """Measure, save and report where the user may not write."""
    is_root = os.geteuid() == 0
    outcome = Outcome(how="permission bits; of root the right to pass over them (CAP_DAC_OVERRIDE) is taken away")
    shown = folder / "shown"
    shown.mkdir()
    save_record(full_run("token_mean", "mean_of_means"), shown)
    for path in (folder, shown):
        path.chmod(0o555)
    drop = _heed_permissions if is_root else None
    commands = {
        ("run", "tiny:llama", *TINY): 2,
        ("run", "tiny:llama", *TINY, "--out", "shown", "--resume"): 2,
        ("run", "tiny:llama", *TINY, "--out", "shown", "--force"): 2,
        ("survey", "llama", "--out", "new"): 2,
        ("report", "shown"): 0,
        ("report", "shown", "--format", "html", "-o", "x.html"): 4,
        ("attach", "--out", "new", "--", sys.executable, "-c", "pass"): 2,
    }
    for words, right in list(commands.items())[:most]:
        with outcome.one(" ".join(words)) as problems:
            code, out, err = _run(words, folder, before=drop, PYTHONDONTWRITEBYTECODE="1")
            problems += [problem_of(code, out + err), "" if code == right else f"exit code {code}: {err[-300:]}"]
    for path in (folder, shown):
        path.chmod(0o755)
    return outcome


def _heed_permissions() -> None:
    """Take from root, in a process that is about to become another program, what lets it write anywhere."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "permissions cannot be made to hold for root")


def of_two_writers(most: int, folder: Path) -> Outcome:
    """Begin a second command in a folder in which one writes."""
    outcome = Outcome()
    save_record(run_record([pass_record(1, "on", "token_mean")]), folder)
    before = (folder / RECORD_NAME).read_bytes()
    with only_writer(folder):
        for options in (["--resume"], ["--force"])[:most]:
            with outcome.one(f"run {options[0]}") as problems:
                code, out, err = _run(("run", "tiny:llama", *TINY, "--out", str(folder), *options), folder.parent)
                problems += [problem_of(code, out + err), "" if code == 2 else f"exit code {code}"]
                if "is writing in" not in err or str(os.getpid()) not in err:
                    problems.append(f"it does not say who: {err[-300:]}")
    if (folder / RECORD_NAME).read_bytes() != before:
        outcome.note("the record", "it was changed")
    return outcome


def of_a_working_folder_that_is_gone(most: int, folder: Path) -> Outcome:
    """Start commands in a folder that was removed."""
    outcome = Outcome()
    record = folder / "kept"
    record.mkdir()
    save_record(full_run("token_mean", "mean_of_means"), record)
    commands = (
        ("report", str(record)),
        ("env",),
        ("--version",),
        ("explain", "OK"),
        ("report",),
        ("compare", str(record), str(record)),
        ("run", "tiny:llama", *TINY),
        ("smoke", "tiny:llama", "--effective-batch-size", "4"),
    )
    gone = folder / "gone"
    for words in commands[:most]:
        gone.mkdir()
        script = f"rmdir {gone}; exec {sys.executable} -m gacheck " + " ".join(words)
        with outcome.one(" ".join(words)) as problems:
            done = subprocess.run(
                ["bash", "-c", script], cwd=gone, env=_environment(), capture_output=True, text=True, check=False
            )
            problems.append(problem_of(done.returncode, done.stdout + done.stderr))
        shutil.rmtree(gone, ignore_errors=True)
    return outcome


def of_a_stdout_that_fails(most: int, folder: Path) -> Outcome:
    """Close stdout, fill the disk behind it, take away its reader, and give it no character beyond ASCII."""
    outcome = Outcome(how=">&-, /dev/full, a closed pipe, PYTHONIOENCODING=ascii")
    save_record(full_run("sum_of_means", "mean_of_means"), folder)
    commands = [("report", "."), ("report", ".", "--format", "json"), ("explain", "OK"), ("env",), ("--help",)]
    commands += [("report", ".", "--format", "html"), ("compare", ".", "."), ("schema", "record")]
    ways = {">&-": (4,), ">/dev/full": (4,), "| head -c 1 >/dev/null; exit ${PIPESTATUS[0]}": (0, 1), "2>&-": (0, 1)}
    tries = [(words, way, codes) for words in commands for way, codes in ways.items()]
    for words, way, codes in tries[:most]:
        with outcome.one(f"{' '.join(words)} {way}") as problems:
            script = f"{sys.executable} -m gacheck {' '.join(words)} {way}"
            done = subprocess.run(
                ["bash", "-c", script], cwd=folder, env=_environment(), capture_output=True, text=True, check=False
            )
            problems.append(problem_of(done.returncode, done.stdout + done.stderr))
            if done.returncode not in codes:
                problems.append(f"exit code {done.returncode}: {done.stderr[-300:]}")
    for words in commands[: max(1, most // 8)]:
        with outcome.one(f"{' '.join(words)} in ASCII") as problems:
            code, out, err = _run(words, folder, PYTHONIOENCODING="ascii", LC_ALL="C", PYTHONUTF8="0")
            problems.append(problem_of(code, out + err))
    return outcome


WATCH = """
    import os, socket
    def _noted(name, real):
        def call(*given, **more):
            self = given[0] if given else None
            if getattr(self, "family", socket.AF_INET) != socket.AF_UNIX:
                with open(os.environ["CALLS"], "a") as file:
                    file.write(f"{name} {given[1:]}\\n")
                raise OSError("the network is blocked")
            return real(*given, **more)
        return call
    for name in ("connect", "connect_ex", "sendto"):
        setattr(socket.socket, name, _noted(name, getattr(socket.socket, name)))
    socket.getaddrinfo = _noted("getaddrinfo", socket.getaddrinfo)
"""


def of_the_network(most: int, folder: Path) -> Outcome:
    """Note every call of the network, and let none through."""
    outcome = Outcome(how="socket.connect, connect_ex, sendto and getaddrinfo replaced by a sitecustomize")
    (folder / "sitecustomize.py").write_text(textwrap.dedent(WATCH), encoding="utf-8")
    save_record(full_run("token_mean", "mean_of_means"), folder)
    calls = folder / "calls.txt"
    commands: list[tuple[tuple[str, ...], str]] = [
        (("run", "tiny:llama", *TINY, "--out", "out"), "0"),
        (("report", ".", "--format", "html"), "0"),
        (("run", "some/model", *TINY), "1"),
        (("smoke", "tiny:gemma3", "--effective-batch-size", "4"), "0"),
        (("run", "tiny:llama", *TINY, "--out", "child", "--isolate"), "0"),
        (("run", "tiny:llama", *TINY, "--dataset", "some/data"), "1"),
        (("models",), "0"),
        (("lint", "llama"), "0"),
        (("env",), "0"),
    ]
    for words, offline in commands[:most]:
        with outcome.one(f"{' '.join(words)}{' (HF_HUB_OFFLINE=1)' if offline == '1' else ''}") as problems:
            path = f"{folder}{os.pathsep}{ROOT}"
            done = subprocess.run(
                [sys.executable, "-m", "gacheck", *words],
                cwd=folder,
                env={**_environment(), "PYTHONPATH": path, "CALLS": str(calls), "HF_HUB_OFFLINE": offline},
                capture_output=True,
                text=True,
                check=False,
                timeout=300,
            )
            problems.append(problem_of(done.returncode, done.stdout + done.stderr))
            if calls.exists():
                problems.append(f"calls: {calls.read_text()[:300]}")
                calls.unlink()
    return outcome
