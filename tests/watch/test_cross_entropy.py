"""Cross-entropy on logits so plain that the answer is known beforehand."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from gacheck.watch.batches import count_targets
from gacheck.watch.cross_entropy import (
    FoundAlignment,
    LogitsReader,
    align,
    find_alignment,
    find_logits,
    fit_weight,
    gradient_nodes,
    measure,
    row_sums,
    sum_nats,
    token_nats,
)

IGNORED = -100
# Two tokens with logits 0 and ln 3 have the probabilities 1/4 and 3/4, at every position.
QUARTER = torch.tensor([[[0.0, math.log(3.0)]]])


def uniform(rows: int, positions: int, vocabulary: int) -> torch.Tensor:
    return torch.full((rows, positions, vocabulary), 0.7)


@pytest.mark.parametrize("shifts", [True, False])
@pytest.mark.parametrize("vocabulary", [2, 10, 300])
def test_uniform_logits_cost_ln_of_the_vocabulary(vocabulary: int, shifts: bool) -> None:
    labels = torch.tensor([[1, 0, 1, 1], [0, 1, IGNORED, IGNORED]])
    logits = uniform(2, 4, vocabulary)
    counts = [3, 1] if shifts else [4, 2]
    assert row_sums(logits, labels, shifts=shifts) == pytest.approx([n * math.log(vocabulary) for n in counts])
    assert float(sum_nats(logits, labels, shifts=shifts)) == pytest.approx(sum(counts) * math.log(vocabulary))
    assert count_targets(labels, shifts=shifts) == sum(counts)


@pytest.mark.parametrize(
    ("shifts", "labels", "nats"),
    [
        (False, [0, 1, 1], [math.log(4), math.log(4 / 3), math.log(4 / 3)]),
        (True, [0, 1, 1], [math.log(4 / 3), math.log(4 / 3)]),
        (True, [1, 0, 1], [math.log(4), math.log(4 / 3)]),
        (True, [1, IGNORED, 0], [math.log(4)]),
        (False, [1, IGNORED, 0], [math.log(4 / 3), math.log(4)]),
        (True, [1, IGNORED, IGNORED], []),
        (False, [IGNORED] * 3, []),
    ],
)
def test_two_tokens_by_hand(shifts: bool, labels: list[int], nats: list[float]) -> None:
    logits, given_labels = QUARTER.expand(1, 3, 2), torch.tensor([labels])
    assert token_nats(logits, align(logits, given_labels, shifts=shifts)).tolist() == pytest.approx(nats)
    assert float(sum_nats(logits, given_labels, shifts=shifts)) == pytest.approx(sum(nats))
    assert count_targets(given_labels, shifts=shifts) == len(nats)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_sums_are_taken_in_float64(dtype: torch.dtype) -> None:
    logits = uniform(1, 3, 300).to(dtype)
    nats = token_nats(logits, align(logits, torch.tensor([[0, 1, 2]]), shifts=True))
    assert nats.dtype == torch.float64
    assert nats.tolist() == pytest.approx([math.log(300)] * 2, rel=1e-14)


@pytest.mark.parametrize(
    ("positions", "shifts", "labels", "scored"),
    [
        (3, True, [7, 8, 9], {0: 8, 1: 9}),
        (3, False, [7, 8, 9], {0: 7, 1: 8, 2: 9}),
        (5, True, [7, 8, 9], {1: 7, 2: 8, 3: 9}),  # two positions in front: now the first label is predicted too
        (5, False, [7, 8, 9], {2: 7, 3: 8, 4: 9}),
        (5, True, [IGNORED, 8, IGNORED], {2: 8}),
        (2, True, [7, 8, 9], {0: 9}),  # and labels longer than the logits lose their first
        (3, True, [-1, -1, 9], {1: 9}),  # some mark by another negative number what is not scored
        (3, False, [-1, 8, -7], {1: 8}),
    ],
)
def test_align_pairs_ends(positions: int, shifts: bool, labels: list[int], scored: dict[int, int]) -> None:
    alignment = align(uniform(1, positions, 10), torch.tensor([labels]), shifts=shifts)
    assert alignment.positions[0].nonzero().flatten().tolist() == list(scored)
    assert alignment.targets.tolist() == list(scored.values())


@given(st.lists(st.lists(st.sampled_from([IGNORED, 0, 1, 2]), min_size=5, max_size=5), min_size=1, max_size=4))
def test_sum_is_torch_s_own(labels: list[list[int]]) -> None:
    rows = torch.tensor(labels)
    logits = torch.randn((len(labels), 5, 3), generator=torch.Generator().manual_seed(0))
    flat, wanted = logits[:, :-1].reshape(-1, 3).double(), rows[:, 1:].reshape(-1)
    expected = float(functional.cross_entropy(flat, wanted, ignore_index=IGNORED, reduction="sum"))
    assert float(sum_nats(logits, rows, shifts=True)) == pytest.approx(expected, abs=1e-12)
    assert sum(row_sums(logits, rows, shifts=True)) == pytest.approx(expected, abs=1e-12)


LOGITS = uniform(1, 2, 3)


@pytest.mark.parametrize(
    ("outputs", "found"),
    [
        (SimpleNamespace(logits=LOGITS), True),
        ({"loss": torch.tensor(1.0), "logits": LOGITS}, True),
        ((torch.tensor(1.0), LOGITS), True),
        ((torch.tensor(1.0), torch.ones(1, 2, 3, dtype=torch.long)), False),
        (SimpleNamespace(logits=None), False),
        (SimpleNamespace(logits=LOGITS[0]), False),
        ((), False),
        (None, False),
    ],
)
def test_find_logits(outputs: object, found: bool) -> None:
    assert find_logits(outputs) is (LOGITS if found else None)


@pytest.mark.parametrize(
    ("gradients", "directions", "weight", "spread"),
    [
        ([-0.25, -0.05], [-1.0, -0.2], 0.25, 0.0),
        ([0.0, 0.0], [-1.0, -0.5], 0.0, 0.0),
        # g·d / d·d = (1·1 + 3·1) / 2 = 2; each lies 1 off, relative to 2.
        ([1.0, 3.0], [1.0, 1.0], 2.0, 0.5),
    ],
)
def test_fit_weight_by_hand(gradients: list[float], directions: list[float], weight: float, spread: float) -> None:
    fitted = fit_weight(torch.tensor(gradients), torch.tensor(directions))
    assert fitted is not None
    assert (fitted.weight, fitted.spread) == (pytest.approx(weight), pytest.approx(spread, abs=1e-6))


@pytest.mark.parametrize(
    ("gradients", "directions"),
    [([1.0, 1.0], [0.0, 0.0]), ([math.nan, 1.0], [1.0, 1.0]), ([math.inf, 1.0], [1.0, 1.0])],
)
def test_nothing_to_fit(gradients: list[float], directions: list[float]) -> None:
    assert fit_weight(torch.tensor(gradients), torch.tensor(directions)) is None


LABELS = torch.tensor([[1, 2, 0, 2], [0, 1, IGNORED, IGNORED]])


def watched_logits(dtype: torch.dtype = torch.float32) -> torch.Tensor:
    weights = torch.randn((2, 4, 3), generator=torch.Generator().manual_seed(0), requires_grad=True)
    return (weights * 1.0).to(dtype) * 1.0


@pytest.mark.parametrize(("factor", "scale"), [(1 / 30, 1.0), (1.0, 1024.0)], ids=["counted", "sum, scaled"])
@pytest.mark.parametrize(
    ("dtype", "copied", "error"),
    [(torch.float32, False, 1e-6), (torch.float32, True, 1e-6), (torch.bfloat16, True, 2e-2)],
    ids=["as handed out", "float32 copy of float32", "float32 copy of bfloat16"],
)
def test_watch_sees_the_weight(factor: float, scale: float, dtype: torch.dtype, copied: bool, error: float) -> None:
    # Mixed precision hands out a copy: the loss is not taken from it, and no gradient reaches it.
    logits = watched_logits(dtype)
    watch = LogitsReader(LABELS, shifts=True)
    handed_out = logits.float() if copied else logits
    watch.read(handed_out)
    (sum_nats(logits, LABELS, shifts=True) * factor * scale).backward()

    assert watch.sum_nats == pytest.approx(float(sum_nats(handed_out.detach(), LABELS, shifts=True)))
    seen = watch.weight(scale)
    assert seen is not None
    assert seen.weight == pytest.approx(factor, rel=error)
    assert seen.spread < error


def test_casts_are_followed_to_the_original() -> None:
    logits = watched_logits(torch.bfloat16)
    [(node, output)] = gradient_nodes(logits)
    assert (node, output) == (logits.grad_fn, 0)
    assert [node for node, _ in gradient_nodes(logits.float())][1:] == [node]
    assert gradient_nodes(logits.detach()) == []


@pytest.mark.parametrize("labels", [LABELS, torch.full_like(LABELS, IGNORED)], ids=["no backward", "no targets"])
def test_watch_without_a_gradient(labels: torch.Tensor) -> None:
    watch, logits = LogitsReader(labels, shifts=True), watched_logits()
    assert watch.weight() is None
    watch.read(logits)
    if not watch.num_targets:
        logits.sum().backward()
    assert watch.weight() is None


def test_several_backwards_add_up() -> None:
    logits = watched_logits()
    watch = LogitsReader(LABELS, shifts=True)
    watch.read(logits)
    for part in (0.1, 0.3):
        (sum_nats(logits, LABELS, shifts=True) * part).backward(retain_graph=True)
    seen = watch.weight()
    assert seen is not None
    assert seen.weight == pytest.approx(0.4, rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_reaches_the_copy_alone_is_half_of_it(dtype: torch.dtype) -> None:
    # The one half of the loss is taken from the copy, the other from the original: the weight is that of both.
    logits = watched_logits(dtype)
    copy = logits.float()
    watch = LogitsReader(LABELS, shifts=True)
    watch.read(copy)
    (sum_nats(copy, LABELS, shifts=True) / 2 + sum_nats(logits, LABELS, shifts=True) / 2).backward()
    seen = watch.weight()
    assert seen is not None
    assert seen.weight == pytest.approx(1, rel=2e-2)


def test_a_gradient_that_is_rounded_on_its_way_is_read_where_it_is_whole() -> None:
    # The loss comes from the float32 copy: what goes on to bfloat16 is rounded, and tells the weight less exactly.
    logits = watched_logits(torch.bfloat16)
    copy = logits.float()
    watch = LogitsReader(LABELS, shifts=True)
    watch.read(copy)
    (sum_nats(copy, LABELS, shifts=True) / 3).backward()
    seen = watch.weight()
    assert seen is not None
    assert seen.spread < 1e-6


# --- S and its noise ----------------------------------------------------------------------------------------------


def measured(
    logits: torch.Tensor, labels: torch.Tensor, *, shifts: bool = True, blur: float = 0.0
) -> tuple[float, float]:
    sums, noise = measure(logits, align(logits, labels, shifts=shifts), blur=blur)
    return math.fsum(sums), noise


def test_noise_by_hand() -> None:
    # Equal logits cost ln 3 each; half a unit in the last place of every 0.7 is the least that is allowed for.
    logits, half = torch.full((2, 4, 3), 0.7), 2.0**-24
    exact, noise = measured(logits, LABELS)
    assert exact == pytest.approx(4 * math.log(3), rel=1e-14)
    assert 4 * 0.7 * half <= noise * (1 + 1e-6)
    assert noise < 1e-6
    # A blur moves the logits apart by up to that share of them.
    assert measured(logits, LABELS, blur=0.1)[1] == pytest.approx(4 * 0.7 * (half + 0.1))
    assert measured(logits, torch.full((2, 4), IGNORED), blur=0.1) == (0.0, 0.0)


def test_noise_grows_with_the_logits_and_not_with_the_loss() -> None:
    # Known by heart: a thousandth of a nat from logits near 1000, whose last place is 6e-5.
    logits = torch.tensor([[[1000.0, 1007.0]]])
    exact, noise = measured(logits, torch.tensor([[1]]), shifts=False)
    assert exact == pytest.approx(math.log1p(math.exp(-7)), rel=1e-12)
    assert noise >= 1007 * 2.0**-24
    assert noise / exact > 0.01


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_s_is_that_of_the_reader_and_of_the_sum(dtype: torch.dtype) -> None:
    logits = watched_logits(dtype)
    watch = LogitsReader(LABELS, shifts=True)
    watch.read(logits, blur=1e-3)
    exact, noise = measured(logits, LABELS, blur=1e-3)
    assert watch.sum_nats == pytest.approx(exact, rel=1e-13)
    assert watch.noise_nats == pytest.approx(noise, rel=1e-3)
    assert watch.num_targets == 4
    assert measured(logits, LABELS, blur=1e-3) == (exact, noise)


# --- which labels a loss scores -------------------------------------------------------------------------------------


def scoring(logits: torch.Tensor, *, shifts: bool, smoothing: float = 0.0) -> torch.Tensor:
    scored, wanted = (logits[:, :-1], LABELS[:, 1:]) if shifts else (logits, LABELS)
    return functional.cross_entropy(
        scored.reshape(-1, 3), wanted.reshape(-1), ignore_index=IGNORED, label_smoothing=smoothing
    )


@pytest.mark.parametrize("shifts", [True, False])
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_direction_of_a_loss_s_gradient_tells_whether_it_shifts(
    shifts: bool, smoothing: float, dtype: torch.dtype
) -> None:
    logits = watched_logits(dtype)
    loss = scoring(logits, shifts=shifts, smoothing=smoothing)
    found = find_alignment(loss, logits, LABELS)
    assert (found.shifts, found.is_clear) == (shifts, True)
    # It depends on the logits of these positions.
    assert found.supported is not None
    assert torch.equal(found.supported, align(logits, LABELS, shifts=shifts).positions)
    loss.backward()  # its graph was kept


@pytest.mark.parametrize("shifts", [True, False])
def test_a_penalty_on_all_logits_does_not_mislead(shifts: bool) -> None:
    # By the mere positions that have a gradient it would not shift.
    logits = watched_logits()
    loss = scoring(logits, shifts=shifts) + 0.01 * logits.logsumexp(-1).square().mean()
    found = find_alignment(loss, logits, LABELS)
    assert (found.shifts, found.is_clear) == (shifts, True)
    assert found.supported is not None
    assert bool(found.supported.all())


@pytest.mark.parametrize("shifts", [True, False])
@pytest.mark.parametrize("smoothing", [0.05, 0.1, 0.3])
def test_of_rows_known_by_heart_only_a_loss_that_does_not_shift_is_said_not_to(shifts: bool, smoothing: float) -> None:
    # Certain of the label that follows: smoothing climbs along it, whichever label is scored.
    vocabulary, labels = 64, torch.arange(3, 23)[None]
    weights = functional.one_hot(labels + 1, vocabulary).float().requires_grad_()
    logits = 12.0 * weights
    scored, wanted = (logits[:, :-1], labels[:, 1:]) if shifts else (logits, labels)
    loss = functional.cross_entropy(scored.reshape(-1, vocabulary), wanted.reshape(-1), label_smoothing=smoothing)

    assert find_alignment(loss, logits, labels).shifts is shifts


def test_a_loss_of_another_kind_is_not_said_to_be_aligned() -> None:
    logits = watched_logits()
    found = find_alignment(logits.square().mean(), logits, LABELS)
    assert not found.is_clear


def test_a_loss_that_no_logits_reach_is_taken_to_shift() -> None:
    logits, apart = watched_logits(), torch.ones((), requires_grad=True) * 2
    for seen in (logits, logits.detach()):
        assert find_alignment(apart, seen, LABELS) == FoundAlignment(shifts=True, is_clear=False)


# --- one class a row ------------------------------------------------------------------------------------------------

CLASSES = torch.tensor([2, 0, 1, 2])


def scores() -> torch.Tensor:
    return torch.randn(4, 3, generator=torch.Generator().manual_seed(1)).requires_grad_()


def test_one_class_a_row_is_a_row_of_one_position() -> None:
    logits, labels = scores(), torch.tensor([2, 0, IGNORED, 2])
    exact = functional.cross_entropy(logits.double(), labels, reduction="none")

    assert row_sums(logits.detach(), labels, shifts=False) == pytest.approx(exact.tolist())
    assert align(logits, labels, shifts=False).counts == [1, 1, 0, 1]
    assert measure(logits, align(logits, labels, shifts=False))[0] == pytest.approx(exact.tolist())
    assert count_targets(labels, shifts=True) == count_targets(labels, shifts=False) == 3


def test_the_weight_of_a_class_is_read_at_its_logits() -> None:
    logits = scores()
    through = logits * 1.0  # whose graph is watched
    reader = LogitsReader(CLASSES, shifts=False)
    reader.read(through)
    (functional.cross_entropy(through, CLASSES, reduction="sum") / 7).backward()
    found = reader.weight()

    assert found is not None
    assert found.weight == pytest.approx(1 / 7)
    assert found.spread < 1e-5
    assert reader.num_targets == 4


def test_logits_of_rows_are_no_logits_of_tokens() -> None:
    outputs = SimpleNamespace(logits=scores().detach())

    assert find_logits(outputs) is None
    assert find_logits(outputs, 2) is outputs.logits
