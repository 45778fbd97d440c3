"""`gacheck env`: what a bug report needs."""

from __future__ import annotations

from gacheck.record.environment import read_environment


def env() -> None:
    """Print versions and platform, for bug reports; imports none of the packages that it names."""
    environment = read_environment()
    rows = {"gacheck": environment.gacheck, "python": environment.python, "platform": environment.platform}
    for name, value in {**rows, **environment.packages}.items():
        print(f"{name:<14}{value}")
