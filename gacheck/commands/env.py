"""`gacheck env`: what a bug report needs."""

from __future__ import annotations

from gacheck.commands.output import write_out
from gacheck.record.environment import read_environment


def env() -> None:
    """Print versions and platform, for bug reports; imports none of the packages that it names.

    Example: gacheck env
    """
    environment = read_environment()
    rows = {"gacheck": environment.gacheck, "python": environment.python, "platform": environment.platform}
    write_out("".join(f"{name:<14}{value}\n" for name, value in {**rows, **environment.packages}.items()))
