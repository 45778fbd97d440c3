"""What the newest release has wrong by default is said, and the line that puts it right."""

from __future__ import annotations

from tests.known.cases import Remedy, Wrong
from tests.known.judging import (
    assert_it_is_wrong,
    assert_remedy,
    assert_verdict,
    each_at_its_doors,
    each_of,
    each_remedy,
)
from tests.known.live import LIVE


@each_of(LIVE)
def test_it_is_wrong(case: Wrong) -> None:
    assert_it_is_wrong(case)


@each_at_its_doors(LIVE)
def test_the_verdict_names_the_fault(case: Wrong, door: str) -> None:
    assert_verdict(case, door)


@each_remedy(LIVE)
def test_the_remedy_does_what_the_advice_says(case: Wrong, remedy: Remedy) -> None:
    assert_remedy(case, remedy)
