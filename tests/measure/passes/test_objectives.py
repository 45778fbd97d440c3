"""Losses that are not what the model computes itself: told right from wrong, and never accused for what they mean."""

from __future__ import annotations

import pytest

from gacheck.measure.session import Session
from gacheck.record.plan import PassSpec
from gacheck.words.analysis import Analysis
from tests.measure.modelling import read, small_config


def judged(**options: object) -> Analysis:
    session = Session(small_config(max_steps=1, **options))
    oracle = session.ask_oracle()
    flag = session.auto_loss_kwargs()
    return read([session.run_pass(PassSpec(k, flag), oracle, lambda: None) for k in (1, 4)], oracle)


@pytest.mark.parametrize(
    ("name", "codes"),
    [
        # Releases that count before the shift hand the right function the wrong count.
        ("right", {"OK", "UNSHIFTED_TOKEN_COUNT"}),
        ("mean", {"SCALED_BY_ACCUMULATION"}),
        # No mean: its size depends on the rows of a micro-batch, so no weight of tokens explains it.
        ("grows_with_rows", {"UNEXPLAINED"}),
        # No mean either: what several rows have is the sum of what each has.
        ("over_a_constant", {"NOT_NORMALISED"}),
    ],
)
def test_a_loss_function_of_ones_own(name: str, codes: set[str]) -> None:
    verdict = judged(compute_loss_func=f"tests.measure.losses:{name}").verdict

    assert verdict.code in codes
    assert verdict.affects == ("none" if verdict.code == "OK" else "both")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_label_smoothing_is_another_objective(dtype: str) -> None:
    # Older smoothers take a mean per micro-batch, which is k times too large.
    verdict = judged(label_smoothing_factor=0.1, dtype=dtype).verdict

    assert verdict.code in {"OTHER_OBJECTIVE", "SCALED_BY_ACCUMULATION"} | (
        {"INCONCLUSIVE"} if dtype == "bfloat16" else set()
    )
