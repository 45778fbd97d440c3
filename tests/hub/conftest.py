"""One hub and one launcher for all tests of a module; a working folder for each."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.hub.fake_hub import FakeHub, Files
from tests.hub.launcher import Done, Launcher
from tests.hub.repos import llama


@pytest.fixture(scope="module")
def hub() -> Iterator[FakeHub]:
    with FakeHub() as hub:
        yield hub


@pytest.fixture(scope="module")
def environment(hub: FakeHub, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Nothing of the user's: no proxy, no token, no cache."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith("HF_") and "proxy" not in name.lower()
    }
    return {
        **kept,
        "HF_ENDPOINT": hub.endpoint,
        "HF_HOME": str(tmp_path_factory.mktemp("hf")),
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DOWNLOAD_TIMEOUT": "3",
        "HF_HUB_ETAG_TIMEOUT": "3",
        "OMP_NUM_THREADS": "1",
    }


@pytest.fixture(scope="module")
def launcher(environment: dict[str, str]) -> Iterator[Launcher]:
    with Launcher(environment) as launcher:
        yield launcher


@pytest.fixture
def gacheck(launcher: Launcher, tmp_path: Path) -> Callable[..., Done]:
    folder = tmp_path / "here"
    folder.mkdir()

    def call(*arguments: str, **environment: str) -> Done:
        return launcher(*arguments, cwd=folder, **environment)

    return call


@pytest.fixture(scope="module")
def tiny() -> Files:
    return llama()
