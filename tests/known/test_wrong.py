"""What is wrong fails for the right reason, and the remedy that is advised puts it right."""

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
from tests.known.wrong import WRONG


@each_of(WRONG)
def test_it_is_wrong(case: Wrong) -> None:
    assert_it_is_wrong(case)


@each_at_its_doors(WRONG)
def test_the_verdict_names_the_fault(case: Wrong, door: str) -> None:
    assert_verdict(case, door)


@each_remedy(WRONG)
def test_the_remedy_does_what_the_advice_says(case: Wrong, remedy: Remedy) -> None:
    assert_remedy(case, remedy)
