"""Sketches of gradients: linear, exact where gradients are equal up to a factor, near elsewhere; and their products."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from gacheck.watch.gradients import ReplayGradients, decode, encode
from gacheck.watch.sketches import BUDGET, FEWEST_BUCKETS, MOST_BUCKETS, MOST_SIGNS, PIECE, Sketcher

SIZE = 3000


def one_parameter(*shape: int, dtype: torch.dtype = torch.float32) -> tuple[torch.nn.ParameterList, Sketcher]:
    model = torch.nn.ParameterList([torch.nn.Parameter(torch.zeros(*shape, dtype=dtype))])
    return model, Sketcher(model)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def net() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(40, 60), torch.nn.Tanh(), torch.nn.Linear(60, 30))


# --- one tensor ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1,), (7,), (SIZE,), (13, 17, 3), (2 * PIECE + 5,)], ids=str)
def test_it_is_linear(shape: tuple[int, ...]) -> None:
    _, sketcher = one_parameter(1)
    first, second = random(*shape).double(), random(*shape, seed=1).double()
    wanted = 2 * sketcher.of(first) - 3 * sketcher.of(second)

    assert torch.allclose(sketcher.of(2 * first - 3 * second), wanted, rtol=0, atol=1e-12 * float(wanted.norm()))


@pytest.mark.parametrize("factor", [2.0, -1.0, 2.0**-30, 1024.0])
def test_what_is_equal_up_to_a_factor_has_a_sketch_equal_up_to_it(factor: float) -> None:
    # By a power of two nothing is rounded.
    _, sketcher = one_parameter(1)
    gradient = random(SIZE)

    assert torch.equal(sketcher.of(gradient * factor), sketcher.of(gradient) * factor)


def test_few_elements_have_a_bucket_each() -> None:
    _, sketcher = one_parameter(1)
    gradient = random(MOST_BUCKETS)

    assert torch.equal(sketcher.of(gradient).abs(), gradient.abs().double())
    assert sketcher.of(gradient).dtype == torch.float64
    assert not torch.equal(sketcher.of(gradient), gradient.double())  # some with the other sign


@pytest.mark.parametrize("size", [SIZE, 3 * PIECE + 1])
def test_norms_and_inner_products_of_random_gradients_are_kept_to_some_per_cent(size: int) -> None:
    # The inner product of two is off by ‖a‖ ‖b‖ / √256 = 6 %, and of a with itself by √2 times that.
    _, sketcher = one_parameter(1)
    errors = []
    for seed in range(30):
        first, second = random(size, seed=2 * seed), random(size, seed=2 * seed + 1)
        both = (first, first + second)
        scale = float(both[0].norm() * both[1].norm())
        found = float(sketcher.of(both[0]) @ sketcher.of(both[1]))
        errors.append((found - float(both[0] @ both[1])) / scale)
        norm = float(sketcher.of(first).norm() / first.norm())
        assert norm == pytest.approx(1, abs=0.2)

    assert max(map(abs, errors)) < 0.25
    assert math.sqrt(sum(e * e for e in errors) / len(errors)) < 0.1
    # Not off to one side: neighbours, or the same place of two pieces, would add up.
    assert abs(sum(errors) / len(errors)) < 0.05


@pytest.mark.parametrize("size", [SIZE, PIECE, 5 * PIECE, 14 * PIECE])
def test_elements_that_are_all_alike_do_not_vanish_and_do_not_add_up(size: int) -> None:
    # Of the ones, with signs alternating or all in one bucket, the norm would be 0 or √size times too large. Many
    # pieces of one sign are the worst there is: they share their signs.
    _, sketcher = one_parameter(1)
    norm = float(sketcher.of(torch.ones(size)).norm())

    assert 0.7 < norm / math.sqrt(size) < 1.4


@pytest.mark.parametrize("num", [2, 3, 14, 16, 84, 2 * MOST_SIGNS])
def test_rows_that_are_all_alike_do_not_vanish(num: int) -> None:
    # As those of a layer whose outputs all count the same. Signs for whole pieces alone add up to 0 for some numbers.
    _, sketcher = one_parameter(1)
    row, num_rows = random(1, 512), num * PIECE // 512
    sketched = sketcher.of(row.expand(num_rows, 512))

    assert float(sketched.norm() / row.norm()) / math.sqrt(num_rows) == pytest.approx(1, abs=0.45)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_sums_are_wider_than_the_gradient(dtype: torch.dtype) -> None:
    # In bfloat16 256 + 1 is 256, and every sum would be rounded to three digits.
    _, sketcher = one_parameter(1)
    gradient = random(3 * PIECE).to(dtype)
    exact = sketcher.of(gradient.double())

    assert float((sketcher.of(gradient) - exact).norm()) < 1e-6 * float(exact.norm())


def test_a_sparse_gradient_has_the_sketch_of_the_dense_one() -> None:
    # An index that comes twice counts twice.
    _, sketcher = one_parameter(1)
    sparse = torch.sparse_coo_tensor(torch.tensor([[3, 1, 3]]), random(3, 8), (5, 8))

    assert sparse.is_sparse
    assert torch.equal(sketcher.of(sparse), sketcher.of(sparse.to_dense()))


def test_an_empty_gradient_is_nothing() -> None:
    _, sketcher = one_parameter(1)

    assert torch.equal(sketcher.of(torch.zeros(0)), torch.zeros(MOST_BUCKETS, dtype=torch.float64))


# --- a model ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("num", "buckets"), [(1, MOST_BUCKETS), (64, 128), (4000, FEWEST_BUCKETS)])
def test_the_budget_is_shared(num: int, buckets: int) -> None:
    model = torch.nn.ParameterList([torch.nn.Parameter(torch.zeros(1)) for _ in range(num)])
    sketch = Sketcher(model).nothing()

    assert sketch.shape == (num, buckets)
    assert sketch.numel() <= max(BUDGET, num * FEWEST_BUCKETS)


def test_frozen_parameters_have_nothing_until_they_are_trained() -> None:
    # Some are let go of only when the training begins.
    model = net()
    frozen = model.get_parameter("0.weight").requires_grad_(False)
    sketcher = Sketcher(model)
    with sketcher.received() as first:
        model(random(8, 40)).sum().backward()
    frozen.requires_grad_(True)
    with sketcher.received() as second:
        model(random(8, 40)).sum().backward()

    assert sketcher.names == [name for name, _ in model.named_parameters()]
    assert [id(p) for p in sketcher.parameters] == [id(p) for p in model.parameters()]
    assert [bool(row.norm() > 0) for row in first] == [False, True, True, True]
    assert [bool(row.norm() > 0) for row in second] == [True] * 4


def test_what_the_optimizer_trains_besides_is_sketched_too() -> None:
    # A head that is not in the model, and whole numbers that nobody trains.
    model, head = net(), torch.nn.Linear(30, 2)
    model.packed = torch.nn.Parameter(torch.ones(3, dtype=torch.int8), requires_grad=False)
    optimizer = torch.optim.SGD([{"params": model[0].parameters()}, {"params": head.parameters()}])
    sketcher = Sketcher(model, optimizer)
    with sketcher.received() as sketch:
        head(model(random(8, 40))).sum().backward()

    assert sketcher.names[-2:] == ["optimizer.param_groups[1][0]", "optimizer.param_groups[1][1]"]
    assert len(sketcher.names) == 6
    assert bool((sketch.norm(dim=1) > 0).all())
    assert head.weight.grad is None


def test_tied_parameters_are_one() -> None:
    first, second = torch.nn.Linear(10, 10, bias=False), torch.nn.Linear(10, 10, bias=False)
    second.weight = first.weight
    model = torch.nn.Sequential(first, second)
    sketcher = Sketcher(model)
    with sketcher.received() as sketch:
        model(random(4, 10)).square().sum().backward()
    model(random(4, 10)).square().sum().backward()

    assert sketcher.names == ["0.weight"]
    # What comes by both ways adds up.
    assert torch.allclose(sketch, sketcher.present())


def test_what_is_present_is_over_the_scale_and_none_is_nothing() -> None:
    model = net()
    sketcher = Sketcher(model)
    assert torch.equal(sketcher.present(), sketcher.nothing())
    model(random(8, 40)).sum().backward()
    model.get_parameter("0.bias").grad = None
    present = sketcher.present()

    assert [bool(row.norm() > 0) for row in present] == [True, False, True, True]
    assert torch.equal(sketcher.present(4.0), present / 4)
    # Sketching changes nothing.
    assert torch.equal(sketcher.present(), present)


def test_two_sketchers_of_one_model_agree() -> None:
    # As those of two processes do.
    model = net()
    model(random(8, 40)).sum().backward()
    state = torch.get_rng_state()

    assert torch.equal(Sketcher(model).present(), Sketcher(model).present())
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("scale", [1.0, 1024.0])
def test_what_a_backward_gives_is_sketched_and_freed(scale: float) -> None:
    model = net()
    sketcher = Sketcher(model)
    with sketcher.received(scale) as sketch:
        (model(random(8, 40)).square().sum() * scale).backward()
        # Freed at once, so that never more than one gradient is held besides the training's own.
        assert all(p.grad is None for p in model.parameters())
    assert not any(p._post_accumulate_grad_hooks for p in model.parameters())
    model(random(8, 40)).square().sum().backward()

    assert float((sketch - sketcher.present()).norm()) < 1e-6 * float(sketch.norm())
    assert not sketch.requires_grad


def test_several_backwards_add_up() -> None:
    model = net()
    sketcher = Sketcher(model)
    with sketcher.received() as sketch:
        for seed in range(3):
            model(random(8, 40, seed=seed)).square().sum().backward()
    for seed in range(3):
        model(random(8, 40, seed=seed)).square().sum().backward()

    assert float((sketch - sketcher.present()).norm()) < 1e-5 * float(sketch.norm())


def test_one_backward_of_gradient_checkpointing_is_one() -> None:
    model = net()
    sketcher = Sketcher(model)
    inputs = random(8, 40).requires_grad_()
    with sketcher.received() as sketch:
        checkpoint(model, inputs, use_reentrant=False).square().sum().backward()
    model(inputs).square().sum().backward()

    assert torch.allclose(sketch, sketcher.present(), rtol=1e-6)


def test_a_backward_that_fails_leaves_no_hook() -> None:
    model = net()
    with pytest.raises(RuntimeError, match="stop"), Sketcher(model).received():
        raise RuntimeError("stop")

    assert not any(p._post_accumulate_grad_hooks for p in model.parameters())


def test_parameters_in_bfloat16_are_sketched() -> None:
    model, sketcher = one_parameter(SIZE, dtype=torch.bfloat16)
    wanted = random(SIZE).bfloat16()
    with sketcher.received() as sketch:
        (model[0] * wanted).sum().backward()

    assert torch.equal(sketch[0], sketcher.of(wanted))
    assert sketch.dtype == torch.float64


# --- what is told of them -----------------------------------------------------------------------------------------


def of_vectors(*vectors: Sequence[float]) -> torch.Tensor:
    """Return sketches of single parameters, a row each."""
    return torch.tensor([list(v) for v in vectors], dtype=torch.float64)


A, B = of_vectors((3, 4), (0, 1)), of_vectors((0, 2), (5, 0))


def test_products_by_hand() -> None:
    # g = A + B = ((3, 6), (5, 1)): g·g = 71, g·A = 9 + 24 + 1 = 34, g·B = 12 + 25 = 37; A·A = 26, B·A = 8, B·B = 29.
    replays = ReplayGradients(torch.stack([A, B]))
    whole, *single = replays.products(A + B, torch.tensor([3e-9, 4e-9]).double(), ["a", "b"], [])

    assert (whole.parameter, whole.square, whole.with_replays, whole.among_replays) == (None, 71, (34, 37), (26, 8, 29))
    assert whole.noise == pytest.approx(5e-9)
    assert len(replays) == 2
    # The replays explain it, so no parameter stands out.
    assert all(each.parameter in ("a", "b") for each in single)


def test_the_parameters_that_are_furthest_off_are_told() -> None:
    names = [f"p{i}" for i in range(10)]
    replay = random(10, 64).double()
    gradient = replay.clone()
    gradient[4] *= 3
    gradient[7] *= -1
    replays = ReplayGradients(replay[None])
    _, *single = replays.products(gradient, torch.full((10,), 1e-9).double(), names, [(1.0,)])
    told = [each.parameter for each in single]

    assert set(told[:2]) == {"p4", "p7"}
    assert {"p4", "p7"} <= set(told)
    by_name = {each.parameter: each for each in single}
    assert by_name["p4"].with_replays[0] == pytest.approx(3 * by_name["p4"].among_replays[0])
    assert by_name["p7"].with_replays[0] == pytest.approx(-by_name["p7"].among_replays[0])


def test_a_parameter_whose_gradient_is_negligible_is_not_told() -> None:
    replay = random(2, 64).double()
    replay[1] *= 1e-9
    gradient = replay.clone()
    gradient[1] *= 3
    _, *single = ReplayGradients(replay[None]).products(gradient, torch.zeros(2).double(), ["large", "small"], [(1.0,)])

    assert "small" not in [each.parameter for each in single]


def test_a_parameter_without_a_gradient_where_one_is_due_is_told() -> None:
    replay = random(3, 64).double()
    gradient = replay.clone()
    gradient[2] = 0
    _, first, *_ = ReplayGradients(replay[None]).products(gradient, torch.zeros(3).double(), ["a", "b", "c"], [(1.0,)])

    assert (first.parameter, first.square, first.with_replays) == ("c", 0.0, (0.0,))


@pytest.mark.parametrize(
    ("plain", "own", "count"),
    [
        ((A, B), (None, None), 2),  # plain cross-entropy throughout
        ((A, B), (B, A), 4),  # another objective: first all plain ones, then all own
        ((A, B), (None, A), 4),  # the first is plain, so its own is that
        ((None, None), (A, B), 2),  # no labels
        ((None, B), (A, A), 2),  # of one no logits: the own ones
        ((A, None), (None, None), None),
        ((None,), (None,), None),
        ((), (), None),
    ],
)
def test_which_replays_are_put_together(
    plain: Sequence[torch.Tensor | None], own: Sequence[torch.Tensor | None], count: int | None
) -> None:
    found = ReplayGradients.of(plain, own)

    assert (None if found is None else len(found)) == count


def test_of_another_objective_the_own_ones_come_last() -> None:
    found = ReplayGradients.of((A, B), (None, A))

    assert found is not None
    assert torch.equal(found.vectors, torch.stack([A, B, A, A]))


def test_a_sketch_comes_through_text_in_float32() -> None:
    _, sketcher = one_parameter(SIZE)
    sketch = sketcher.of(random(SIZE))[None]
    text = encode(sketch)
    told = decode(text, sketcher.nothing())

    assert isinstance(text, str)
    assert told is not None
    assert torch.equal(told, sketch.float().double())
    assert told.shape == sketch.shape
    assert (encode(None), decode(None, sketch)) == (None, None)
