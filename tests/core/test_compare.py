"""Two judgements of one thing: what became of it, by hand and by properties."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gacheck.core.compare import KINDS, Change, Judgement, Kind, Result, compare, result_of
from gacheck.core.figures import PassFigures, StepFigures
from gacheck.core.finding import Tolerance
from gacheck.rules.facts import Flag
from gacheck.rules.table import SEVERITY, SEVERITY_RANK, Severity, gravest_first


def figures(ratio: float | None, *, k: int = 4, flag: Flag = Flag.ON, norm: float | None = 1.0) -> PassFigures:
    """Make a pass whose right answer is 2."""
    first = StepFigures(1, 2 * ratio, 1.0, k, reference_loss=2.0) if ratio is not None else None
    return PassFigures(f"k{k}-{flag}", k, flag, tail=False, status="ok", first=first, grad_norm_ratio=norm)


def judgement(
    *codes: str,
    severity: Severity | None = None,
    passes: tuple[PassFigures, ...] = (),
    loss_tolerance: float = 1e-6,
    flag: Flag = Flag.ON,
    rows: str = "rows",
) -> Judgement:
    return Judgement(
        code=codes[0],
        codes=codes,
        severity=severity or SEVERITY[codes[0]],
        flag=flag,
        passes={p.id: p for p in passes},
        tolerance=Tolerance(loss_tolerance, None),
        rows=rows,
    )


def become(a: Judgement | None, b: Judgement | None) -> Change:
    (change,) = compare({"x": a}, {"x": b})
    return change


BY_HAND: list[tuple[tuple[str, ...] | None, tuple[str, ...] | None, Kind]] = [
    (("OK",), ("OK",), "same"),
    (("OK",), ("MEAN_OF_MEANS",), "regressed"),
    (("OK",), ("SCALED_BY_ACCUMULATION",), "regressed"),
    (("MEAN_OF_MEANS",), ("SCALED_BY_ACCUMULATION",), "regressed"),
    (("SCALED_BY_ACCUMULATION",), ("MEAN_OF_MEANS",), "better"),
    (("SCALED_BY_ACCUMULATION",), ("OK",), "fixed"),
    (("MEAN_OF_MEANS",), ("OTHER_OBJECTIVE",), "fixed"),
    (("OK",), ("OTHER_OBJECTIVE",), "changed"),
    (("MEAN_OF_MEANS",), ("UNSHIFTED_TOKEN_COUNT",), "changed"),
    (("NONFINITE",), ("SCALED_BY_ACCUMULATION",), "changed"),
    (("SCALED_BY_ACCUMULATION",), ("SCALED_BY_ACCUMULATION", "AUX_LOSS_SCALED"), "changed"),
    # Inconclusive is no grade between: it stands apart.
    (("OK",), ("INCONCLUSIVE",), "lost"),
    (("SCALED_BY_ACCUMULATION",), ("INCONCLUSIVE",), "lost"),
    (("INCONCLUSIVE",), ("SCALED_BY_ACCUMULATION",), "found"),
    (("INCONCLUSIVE",), ("OK",), "found"),
    (("INCONCLUSIVE",), ("INCONCLUSIVE",), "unjudged"),
    (("OK",), None, "lost"),
    (None, ("NONFINITE",), "found"),
    (None, ("INCONCLUSIVE",), "unjudged"),
    (None, None, "unjudged"),
]


@pytest.mark.parametrize(("a", "b", "kind"), BY_HAND)
def test_what_became_of_a_verdict(a: tuple[str, ...] | None, b: tuple[str, ...] | None, kind: Kind) -> None:
    assert become(judgement(*a) if a else None, judgement(*b) if b else None).kind == kind


def test_a_mean_of_means_that_does_harm_is_worse_than_one_that_does_not() -> None:
    mild, harmful = judgement("MEAN_OF_MEANS"), judgement("MEAN_OF_MEANS", severity="fail")

    assert become(mild, harmful).kind == "regressed"
    assert become(harmful, mild).kind == "better"


def test_what_stands_in_one_record_alone() -> None:
    ok, bad = judgement("OK"), judgement("NONFINITE")

    changes = compare({"old": bad, "both": ok}, {"both": ok, "new": bad})

    assert [(change.name, change.kind) for change in changes] == [("both", "same"), ("new", "new"), ("old", "gone")]
    assert result_of(changes) == "none"


RATIOS = [
    # (A, B, tolerance of A, tolerance of B, whether it moved)
    (1.001, 4.005, 1e-6, 1e-6, True),
    (1.001, 1.002, 1e-6, 1e-6, False),
    (1.001, 1.004, 1e-6, 1e-6, True),
    # Four times a tolerance is still equal, and the coarser of the two counts.
    (1.001, 1.004, 1e-2, 1e-6, False),
    (1.001, 1.004, 1e-6, 1e-2, False),
    (1.0, 1.03, 1e-2, 1e-6, False),
    (1.0, 1.05, 1e-2, 1e-6, True),
    (1.0, None, 1e-6, 1e-6, True),
    (None, None, 1e-6, 1e-6, False),
]


@pytest.mark.parametrize(("a", "b", "of_a", "of_b", "moved"), RATIOS)
def test_a_ratio_moved_by_more_than_both_tolerances(
    a: float | None, b: float | None, of_a: float, of_b: float, moved: bool
) -> None:
    change = become(
        judgement("MEAN_OF_MEANS", passes=(figures(a),), loss_tolerance=of_a),
        judgement("MEAN_OF_MEANS", passes=(figures(b),), loss_tolerance=of_b),
    )

    assert change.kind == ("moved" if moved else "same")
    assert [each.figures for each in change.passes] == ([("ratio",)] if moved else [])


def test_ratios_of_other_rows_are_not_compared() -> None:
    a = judgement("MEAN_OF_MEANS", passes=(figures(1.001, norm=1.0),), rows="these")
    b = judgement("MEAN_OF_MEANS", passes=(figures(1.2, norm=3.0),), rows="those")

    assert become(a, b).kind == "same"


def test_another_choice_of_the_flag_is_told() -> None:
    on, off = (judgement("MEAN_OF_MEANS", flag=flag) for flag in Flag)

    assert become(on, off).kind == "moved"


def test_the_ratio_is_that_of_the_largest_k_with_the_flag_as_chosen() -> None:
    passes = (figures(2.0, k=2), figures(8.0, k=8), figures(4.0), figures(1.1, k=8, flag=Flag.OFF))

    assert judgement("SCALED_BY_ACCUMULATION", passes=passes).ratio == 8.0
    assert judgement("SCALED_BY_ACCUMULATION", passes=passes, flag=Flag.OFF).ratio == 1.1
    assert judgement("INCONCLUSIVE").ratio is None


@pytest.mark.parametrize(
    ("kinds", "result"),
    [
        (("same", "fixed", "moved", "new", "gone"), "none"),
        (("same", "lost", "regressed"), "regression"),
        (("same", "lost"), "unjudged"),
        (("unjudged", "same"), "none"),
        # Nothing that is judged in both: no regression could be seen.
        (("unjudged", "found"), "unjudged"),
        (("new", "gone"), "unjudged"),
        ((), "unjudged"),
    ],
)
def test_the_result(kinds: tuple[Kind, ...], result: Result) -> None:
    ok = judgement("OK")
    judged = {"same": (ok, ok), "fixed": (ok, ok), "moved": (ok, ok), "regressed": (ok, ok), "lost": (ok, None)}

    changes = [Change(str(number), kind, *judged.get(kind, (None, None))) for number, kind in enumerate(kinds)]

    assert result_of(changes) == result


SIDES = st.none() | st.builds(
    lambda codes, ratio: judgement(*gravest_first(codes), passes=(figures(ratio),)),
    st.sets(st.sampled_from(sorted(SEVERITY)), min_size=1, max_size=2),
    st.sampled_from([None, 1.0, 1.2, 4.0]),
)
RECORDS = st.dictionaries(st.sampled_from("pqrst"), SIDES, max_size=4)

MIRROR: dict[Kind, frozenset[Kind]] = {
    "regressed": frozenset({"better", "fixed"}),
    "better": frozenset({"regressed"}),
    "fixed": frozenset({"regressed"}),
    "lost": frozenset({"found"}),
    "found": frozenset({"lost"}),
    "new": frozenset({"gone"}),
    "gone": frozenset({"new"}),
    **{kind: frozenset({kind}) for kind in ("changed", "moved", "same", "unjudged")},
}


def test_every_kind_has_a_mirror() -> None:
    assert set(MIRROR) == set(KINDS)


@given(RECORDS)
def test_a_record_against_itself_has_no_change(record: Mapping[str, Judgement | None]) -> None:
    changes = compare(record, record)

    assert [change.name for change in changes] == list(record)
    assert {change.kind for change in changes} <= {"same", "unjudged"}


@given(RECORDS, RECORDS)
def test_the_other_way_round_is_the_mirror_image(
    a: Mapping[str, Judgement | None], b: Mapping[str, Judgement | None]
) -> None:
    forth = {change.name: change for change in compare(a, b)}
    back = {change.name: change for change in compare(b, a)}

    assert forth.keys() == back.keys() == a.keys() | b.keys()
    for name, change in forth.items():
        assert back[name].kind in MIRROR[change.kind]
        assert (back[name].a, back[name].b) == (change.b, change.a)
        assert [(p.name, p.figures) for p in back[name].passes] == [(p.name, p.figures) for p in change.passes]


@given(RECORDS, RECORDS)
def test_a_regression_is_a_graver_verdict_and_nothing_else(
    a: Mapping[str, Judgement | None], b: Mapping[str, Judgement | None]
) -> None:
    ranks = {severity: rank for severity, rank in SEVERITY_RANK.items() if severity != "inconclusive"}
    worse = {
        name
        for name in a.keys() & b.keys()
        if (was := a[name]) is not None
        and (now := b[name]) is not None
        and was.severity in ranks
        and now.severity in ranks
        and ranks[now.severity] > ranks[was.severity]
    }

    changes = compare(a, b)
    assert {change.name for change in changes if change.kind == "regressed"} == worse
    assert (result_of(changes) == "regression") == bool(worse)
