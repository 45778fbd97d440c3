"""A hundred trainings that are drawn by lot go the same way watched and not, under every release."""

from __future__ import annotations

import pytest

from tests.environments import CHECKOUT
from tests.releases.test_releases import CASES, MORE_CASES, run_in

pytestmark = pytest.mark.releases

NUM_TRAININGS = 100
RELEASES = sorted({case.release for case in CASES + MORE_CASES})


@pytest.mark.parametrize("release", [pytest.param(r, marks=pytest.mark.xdist_group(r)) for r in RELEASES])
def test_a_watched_training_is_the_same(release: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUM_TRAININGS", str(NUM_TRAININGS))
    done = run_in(release, "python", "-m", "pytest", "tests/watch/test_identity.py", cwd=CHECKOUT)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert f"{NUM_TRAININGS} passed" in done.stdout
