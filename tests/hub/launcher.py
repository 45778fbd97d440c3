"""Runs gacheck over and over with torch loaded once: a process that forks for every call.

Loading torch and transformers takes four seconds; here every call takes its own copy of a process that has. Nothing
is carried over from call to call: what a child does ends with it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Done:
    """What a call left."""

    exit_code: int
    out: str
    err: str


class Launcher:
    """The parent's side; `with` starts and ends the process that forks."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = environment

    def __enter__(self) -> Launcher:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.hub.launcher"],
            cwd=Path(__file__).parents[2],
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def __call__(self, *arguments: str, cwd: Path, **environment: str) -> Done:
        """Run `gacheck ARGUMENTS` in a folder, with more environment variables."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        # Beside the working folder: what is left in that is the test's business.
        out, err = cwd.with_name(f"{cwd.name}.out"), cwd.with_name(f"{cwd.name}.err")
        order = {"arguments": arguments, "cwd": str(cwd), "environment": environment, "out": str(out), "err": str(err)}
        print(json.dumps(order), file=self._process.stdin, flush=True)
        exit_code = int(self._process.stdout.readline())
        return Done(exit_code, out.read_text(), err.read_text())


def serve() -> None:
    """Fork for every line of stdin and answer with the exit code."""
    import gacheck.measure.session  # noqa: F401 - what takes so long

    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            _call(**json.loads(line))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def _call(arguments: list[str], cwd: str, environment: dict[str, str], out: str, err: str) -> None:
    from gacheck.cli import main

    code: object = 99
    try:
        os.chdir(cwd)
        os.environ.update(environment)
        for number, path in ((1, out), (2, err)):
            os.dup2(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC), number)
        sys.argv = ["gacheck", *arguments]
        main(arguments)
    except SystemExit as caught:
        code = caught.code or 0
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 99)


if __name__ == "__main__":
    serve()
