"""The right answer, against another arithmetic than the oracle's own."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from gacheck.measure.passes.oracle import relative_difference
from gacheck.record.parts import OracleRecord
from gacheck.watch.batches import row_fingerprint
from tests.measure.modelling import INSTALLED, Bench, bench, opened, tiny_model


@pytest.fixture(scope="module")
def plain() -> Bench:
    return bench(tiny_model())


@pytest.fixture(scope="module")
def measured(plain: Bench) -> tuple[list[dict[str, Any]], OracleRecord]:
    """The first step's rows in the Trainer's order, and what the oracle says of them."""
    by_fingerprint = {row_fingerprint(r["input_ids"], r["labels"]): r for r in plain.rows.train}
    record = plain.runner.ask_oracle()
    return [by_fingerprint[row.fingerprint] for row in record.rows], record


def total_and_count(model: Any, rows: list[dict[str, Any]]) -> tuple[torch.Tensor, int]:
    """Sum the rows' cross-entropy, one row at a time and without padding, in float64."""
    total, count = torch.zeros((), dtype=torch.float64), 0
    for row in rows:
        ids = torch.tensor([row["input_ids"]])
        logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0, :-1].double()
        total = total + functional.cross_entropy(logits, ids[0, 1:], reduction="sum")
        count += len(ids[0]) - 1
    return total, count


def test_right_answer_is_the_token_weighted_mean(plain: Bench) -> None:
    rows = list(plain.rows.heldout)
    total, count = total_and_count(plain.model, rows)
    answer = plain.oracle.mean_nats(rows, shifts=True)
    assert answer == pytest.approx(float(total) / count, rel=1e-9)
    # A mean of the rows' means is another number: the test can fail.
    means = [float(t) / n for t, n in (total_and_count(plain.model, [row]) for row in rows)]
    assert answer != pytest.approx(sum(means) / len(means), rel=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_right_answer_knows_no_order(plain: Bench, seed: int) -> None:
    rows = list(plain.rows.heldout)
    shuffled = random.Random(seed).sample(rows, len(rows))
    assert shuffled != rows
    assert plain.oracle.mean_nats(shuffled, shifts=True) == plain.oracle.mean_nats(rows, shifts=True)


def test_rows_add_up_however_they_are_grouped(
    plain: Bench, measured: tuple[list[dict[str, Any]], OracleRecord]
) -> None:
    rows, record = measured
    for row, seen in zip(rows, record.rows, strict=True):
        total, count = total_and_count(plain.model, [row])
        assert seen.sum_nats == pytest.approx(float(total), rel=1e-9)
        assert (seen.num_target_tokens, seen.num_label_tokens) == (count, count + 1)
        assert seen.fingerprint == row_fingerprint(row["input_ids"], row["labels"])
    for size in (2, 4, 8):
        for start in range(0, 8, size):
            batch = plain.collator(rows[start : start + size])
            logits = plain.model(**batch).logits[:, :-1].flatten(0, 1).double()
            together = float(functional.cross_entropy(logits, batch["labels"][:, 1:].flatten(), reduction="sum"))
            alone = sum(seen.sum_nats for seen in record.rows[start : start + size])
            assert together == pytest.approx(alone, rel=4 * record.noise.resolution)


def test_gradient_norm_is_autograd_s(plain: Bench, measured: tuple[list[dict[str, Any]], OracleRecord]) -> None:
    rows, record = measured
    total, count = total_and_count(plain.model, rows)
    gradients = torch.autograd.grad(total / count, list(plain.model.parameters()))
    norm = torch.cat([gradient.flatten().double() for gradient in gradients]).norm()
    assert record.gradient_norms == {8: pytest.approx(float(norm), rel=1e-5)}
    assert all(parameter.grad is None for parameter in plain.model.parameters())
    assert record.noise.gradient_norm is not None
    assert record.noise.gradient_norm < 1e-5


def test_noise_is_that_of_float32(measured: tuple[list[dict[str, Any]], OracleRecord]) -> None:
    _, record = measured
    assert record.noise.resolution == 4 * 2.0**-24
    assert record.noise.repeat == 0
    assert 0 < record.noise.regrouping < 1e-6
    assert record.noise.plain_loss is not None
    assert record.noise.plain_loss < 1e-6


@pytest.mark.parametrize("model_type", INSTALLED)
def test_shift_is_found(model_type: str) -> None:
    _, record = opened(f"tiny:{model_type}")
    assert record.shifts is (model_type != "xlnet")
    fitting, other = record.shift_errors if record.shifts else record.shift_errors[::-1]
    assert fitting < 1e-6
    assert other > 1e-4
    for row in record.rows:
        assert row.num_target_tokens == row.num_label_tokens - record.shifts


@pytest.mark.parametrize("model_type", INSTALLED)
def test_counted_loss_shows_whether_the_count_is_used(model_type: str) -> None:
    _, record = opened(f"tiny:{model_type}")
    assert record.plain_loss_nats is not None
    if record.counted_loss_nats is None:
        assert "num_items_in_batch" in (record.counted_loss_error or "")
        return
    assert record.counted_loss_error is None
    ratio = record.counted_loss_nats / record.plain_loss_nats
    assert min(abs(ratio - 0.5), abs(ratio - 1)) < 1e-6


def test_llama_has_always_used_the_count() -> None:
    _, record = opened("tiny:llama")
    assert record.plain_loss_nats is not None
    assert record.counted_loss_nats == pytest.approx(record.plain_loss_nats / 2, rel=1e-6)


@pytest.mark.parametrize("model_type", INSTALLED)
def test_loss_location_starts_in_the_model(model_type: str) -> None:
    _, record = opened(f"tiny:{model_type}")
    first = record.loss_location[0]
    assert (Path(first.file).name, first.function) == (f"modeling_{model_type}.py", "forward")
    line = Path(first.file).read_text(encoding="utf-8").splitlines()[first.line - 1]
    assert "loss" in line or "labels" in line


@pytest.mark.parametrize(
    ("value", "wanted", "difference"),
    [
        (1.0, 1.0, 0.0),
        (3.0, 2.0, 0.5),
        (-1.0, 1.0, 2.0),
        (1.0, -2.0, 1.5),
        (0.0, 0.0, 0.0),
        (1.0, 0.0, math.inf),
        (math.nan, 1.0, math.inf),
        (1.0, math.nan, math.inf),
        (math.inf, math.inf, math.inf),
    ],
)
def test_relative_difference(value: float, wanted: float, difference: float) -> None:
    assert relative_difference(value, wanted) == difference
