"""Versions and platform, read without importing what they belong to."""

from __future__ import annotations

import platform
from importlib import metadata

from pydantic import BaseModel, ConfigDict

from gacheck import __version__
from gacheck.rules.facts import PACKAGES


class Environment(BaseModel):
    """Versions of what took part; a package that is not installed is absent."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    gacheck: str
    python: str
    platform: str
    packages: dict[str, str]


def installed_version(package: str) -> str | None:
    """Return the installed version of `package`, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def read_environment() -> Environment:
    """Describe this interpreter and the packages that decide the numbers."""
    versions = {package: installed_version(package) for package in PACKAGES}
    return Environment(
        gacheck=__version__,
        python=platform.python_version(),
        platform=platform.platform(),
        packages={package: version for package, version in versions.items() if version is not None},
    )
