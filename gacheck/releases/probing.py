"""What `gacheck smoke` says under another release, in a process of that release's environment."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Sequence
from typing import Any

from gacheck.core.history import Tried
from gacheck.errors import GacheckError, UsageError, one_line
from gacheck.releases.environments import python_of

# Two steps of a tiny model take seconds, of a large one minutes: this one hangs.
LIMIT_SECONDS = 1800


def probe(release: str, smoke: Sequence[str], say: Callable[[str], None]) -> Tried:
    """Try a model under a release, whose environment is made where needed.

    Args:
        release: Of transformers.
        smoke: The command after `gacheck`, which is that of a smoke check.
        say: Is told what takes time.
    """
    try:
        python = python_of(release, say)
        # Not with the current folder on the path: a package there would take the place of the release's.
        done = subprocess.run(
            [str(python), "-P", "-m", "gacheck", *smoke, "--json"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=LIMIT_SECONDS,
            # Several run beside each other: threads more than one only get in each other's way.
            env={"OMP_NUM_THREADS": "1", **os.environ},
        )
    except GacheckError as error:
        return Tried(release, "unknown", reason=f"{error.what} {error.why}")
    except (OSError, subprocess.TimeoutExpired) as error:
        return Tried(release, "unknown", reason=one_line(error))
    return read(release, done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))


def read(release: str, exit_code: int, printed: str, said: str) -> Tried:
    """Return what the process of a smoke check found.

    Args:
        release: Which it was to be.
        exit_code: Its own.
        printed: Its stdout.
        said: Its stderr.
    """
    if exit_code == UsageError.exit_code:
        return Tried(release, "absent", reason=_reason(said))
    try:
        result: dict[str, Any] = json.loads(printed)
        found, verdict, made = result["environment"]["transformers"], result["verdict"], result["model"]["class"]
    except (ValueError, KeyError):
        return Tried(release, "unknown", reason=_reason(said) or f"it ended with exit code {exit_code}")
    if found != release:
        return Tried(release, "unknown", reason=f"transformers {found} was found instead: see PYTHONPATH")
    return Tried(release, verdict["severity"], verdict["code"], class_name=made)


def _reason(said: str) -> str:
    """Return the first line of gacheck's own error; else the last that was said."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    own = [line.removeprefix("gacheck: ") for line in lines if line.startswith("gacheck: ")]
    return one_line((own[:1] or lines[-1:] or [""])[0])
