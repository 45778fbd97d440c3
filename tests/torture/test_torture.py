"""A short form of every attack; `make torture` does them at length."""

from __future__ import annotations

import pytest

from tests.torture.attacks import ATTACKS, Named, carry_out


@pytest.mark.usefixtures("no_traces")
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_nothing_comes_of_it(attack: Named) -> None:
    outcome = carry_out(attack, attack.few)

    assert outcome.tried >= min(attack.few, attack.most)
    assert outcome.failures == []
