"""What the trainings train on, made once by each environment's own transformers."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from tests.integrations.trainings import HERE, train


@pytest.fixture(scope="session")
def material(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    @cache
    def made_by(environment: str) -> Path:
        folder = tmp_path_factory.mktemp("material")
        done = train(environment, folder / "made", "python", str(HERE / "material.py"), str(folder))
        assert done.exit_code == 0, done.stderr[-3000:]
        return folder

    return made_by
