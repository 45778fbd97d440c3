"""Worker processes, forked from a server that has loaded the libraries once, with an end to their memory."""

from __future__ import annotations

import multiprocessing.context
import os
import signal
import threading
from contextlib import suppress
from multiprocessing import forkserver
from multiprocessing.connection import wait
from multiprocessing.process import parent_process
from pathlib import Path

import psutil

try:
    import resource
except ImportError:  # Windows has no limits of this kind
    resource = None  # type: ignore[assignment]

CGROUP = Path("/sys/fs/cgroup")
"""Where a container says what it may have."""
ENDED = "ProcessError"
"""The kind of error of a pass whose process came to no end of it."""
SHOW_WHERE = "see what was printed above; with PYTHONFAULTHANDLER=1 before the command Python shows where it was"


def load_ahead(module: str) -> None:
    """Begin to load a module, in the process that all workers are forked from."""
    forkserver_of(module)
    forkserver.ensure_running()


def forkserver_of(module: str) -> multiprocessing.context.ForkServerContext:
    """Return the server that has loaded a module."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([module])
    return context


def leave_interrupts_to_the_program() -> None:
    """Let Ctrl-C be for the program alone; it ends its workers itself."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def end_with_the_program() -> None:
    """End this process as soon as the program has ended, also where that was killed: a model that hangs would stay."""
    program = parent_process()
    if program is not None:
        threading.Thread(target=_end_after, args=(program.sentinel,), daemon=True).start()


def _end_after(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)


def limit_memory(limit: int) -> None:
    """Put an end to the memory of this process; a system that cannot limit it does not.

    Args:
        limit: Bytes that it may have beyond what it has now.
    """
    taken = _taken_bytes()
    if resource is not None and taken is not None:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_DATA, (taken + limit, resource.RLIM_INFINITY))


def available_bytes() -> int:
    """Return the bytes of memory that are free here; a container may have less than its machine."""
    free = int(psutil.virtual_memory().available)
    with suppress(OSError, ValueError):  # there is no container, or it has no limit: "max"
        limit, used = (int((CGROUP / f"memory.{each}").read_text(encoding="ascii")) for each in ("max", "current"))
        free = min(free, max(0, limit - used))
    return free


def how_it_ended(code: int | None) -> str:
    """Say how a process ended that gave no answer, by its exit code, which is negative where a signal ended it."""
    if code is None or code >= 0:
        return f"its process ended itself with exit code {code}"
    with suppress(ValueError):
        name = signal.Signals(-code).name
        if name == "SIGKILL":
            return "its process was killed (SIGKILL), most likely out of memory"
        return f"its process was ended by {name}"
    return f"its process was ended by signal {-code}"


def _taken_bytes() -> int | None:
    """Return the bytes of memory for data that this process has; None where the system does not say."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData:")), None)
