"""Runs a training command with the watch in its processes, and as if there were none for everything else."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

from gacheck.errors import ConfigError
from gacheck.watch.startup import sitecustomize
from gacheck.watch.startup.sitecustomize import FACTS_FOLDER, NUM_STEPS, STOP

STARTUP = Path(sitecustomize.__file__).resolve().parent
POLL_SECONDS = 0.5


def _as_it_may_be_meant(command: Sequence[str]) -> str:
    first = command[0]
    if " " in first and not Path(first).exists():
        return f"leave out the quotes around it:  gacheck attach -- {first}"
    if first.endswith(".py"):
        return f"write  gacheck attach -- python {shlex.join(command)}"
    return "check the spelling; the command stands after --:  gacheck attach -- python train.py"


def run_watched(command: Sequence[str], folder: Path, *, steps: int, stop: bool, meanwhile: Callable[[], None]) -> int:
    """Run the command to its end; input, output and signals are its own.

    Args:
        command: Program and arguments.
        folder: Where its processes leave what they see.
        steps: How many optimizer steps they are to observe.
        stop: Whether they are to end then.
        meanwhile: Called now and then.

    Returns:
        Its exit code; of one that a signal ended 128 + the signal's number, as shells say it.

    Raises:
        ConfigError: There is no such program.
    """
    environment = {**os.environ, FACTS_FOLDER: str(folder), NUM_STEPS: str(steps), STOP: "1" if stop else ""}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(STARTUP), os.environ.get("PYTHONPATH"))))
    try:
        process = subprocess.Popen(command, env=environment)
    except OSError as error:
        raise ConfigError(
            f"{command[0]!r} cannot be started: {error.strerror}.",
            why="The training is that command's; nothing was run.",
            fix=_as_it_may_be_meant(command),
        ) from None

    def pass_on(number: int, frame: FrameType | None) -> None:
        process.send_signal(number)

    # Ctrl-C reaches the training by itself: a terminal sends it to both. It decides what becomes of it.
    before = {signal.SIGINT: signal.signal(signal.SIGINT, signal.SIG_IGN)}
    before[signal.SIGTERM] = signal.signal(signal.SIGTERM, pass_on)
    try:
        while True:
            try:
                code = process.wait(timeout=POLL_SECONDS)
                break
            except subprocess.TimeoutExpired:
                meanwhile()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    meanwhile()
    return code if code >= 0 else 128 - code
