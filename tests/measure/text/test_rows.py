"""Rows: unequal, disjoint, decided by the seed; batches: padded on the right and known by their content."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gacheck.errors import DataError
from gacheck.measure.text.rows import (
    NUM_HELDOUT_ROWS,
    Collator,
    Rows,
    make_rows,
)
from gacheck.measure.text.sources import TextSource, open_text
from gacheck.watch.batches import batch_fingerprints, row_fingerprint
from tests.measure.modelling import small_config, stand_in_tokenizer


class Counting:
    """A tokenizer that numbers the words: every token of a text of distinct words is told from all others."""

    def __call__(self, text: str, **options: object) -> dict[str, list[int]]:
        return {"input_ids": [int(word) for word in text.split()]}


def numbers(count: int = 100_000, per_text: int = 1000) -> Iterator[str]:
    for start in range(0, count, per_text):
        yield " ".join(map(str, range(start, min(start + per_text, count))))


def made(texts: Iterator[str] | None = None, **options: object) -> Rows:
    source = TextSource("numbers.txt", lambda: texts or numbers())
    return make_rows(source, Counting(), small_config(**options))


def lengths(rows: Rows) -> list[int]:
    return [len(row["input_ids"]) for part in (rows.train, rows.heldout) for row in part]


@settings(max_examples=15, deadline=None)
@given(max_length=st.integers(8, 300), seed=st.integers(0, 2**32 - 1), max_steps=st.integers(1, 3))
def test_rows_hold_what_the_plan_asks(max_length: int, seed: int, max_steps: int) -> None:
    rows = made(max_length=max_length, seed=seed, max_steps=max_steps)
    assert (len(rows.train), len(rows.heldout)) == (8 * max_steps, NUM_HELDOUT_ROWS)
    assert min(lengths(rows)) >= 8
    assert max(lengths(rows)) <= max(8, max_length / 2)
    # No token is used twice: what is held out was never trained on.
    tokens = [token for part in (rows.train, rows.heldout) for row in part for token in row["input_ids"]]
    assert tokens == list(range(len(tokens)))
    facts = rows.facts
    assert (facts.num_rows, facts.num_heldout_rows) == (len(rows.train), len(rows.heldout))
    assert (facts.min_length, facts.max_length) == (min(lengths(rows)), max(lengths(rows)))


@pytest.mark.parametrize("seed", range(3))
def test_rows_are_unequal_also_after_averaging(seed: int) -> None:
    drawn = lengths(made(seed=seed, max_steps=8))[:64]
    assert len(set(drawn)) > 16
    assert sum(length < 16 for length in drawn) > 8
    assert sum(length > 32 for length in drawn) > 8
    for size in (2, 4, 8):
        sums = [sum(drawn[start : start + size]) for start in range(0, 64, size)]
        assert max(sums) > 1.1 * min(sums)


def test_seed_decides_the_rows() -> None:
    first, same, other = (made(seed=seed) for seed in (0, 0, 1))
    assert list(first.train) == list(same.train)
    assert first.facts == same.facts
    assert lengths(first) != lengths(other)
    assert first.facts.fingerprint != other.facts.fingerprint


def test_labels_are_the_tokens() -> None:
    for row in made().train:
        assert row["labels"] == row["input_ids"]
        assert row["attention_mask"] == [1] * len(row["input_ids"])


@pytest.mark.parametrize("missing", [1, 100])
def test_too_little_text_says_how_little(missing: int) -> None:
    needed = sum(lengths(made()))
    assert made(numbers(needed)).facts == made().facts
    with pytest.raises(DataError) as raised:
        made(numbers(needed - missing))
    for part in ("numbers.txt", f"{needed - missing} tokens", f"{16 + NUM_HELDOUT_ROWS} rows", f"need {needed}"):
        assert part in raised.value.what
    assert "--max-length" in raised.value.fix


def test_text_is_read_no_further_than_needed() -> None:
    def texts() -> Iterator[str]:
        yield from numbers()
        pytest.fail("read on")

    made(texts())


def test_builtin_text_is_enough_for_the_default_plan() -> None:
    config = small_config(gradient_accumulation_steps=(1, 2, 4, 8), effective_batch_size=16, max_steps=8)
    rows = make_rows(open_text(config), stand_in_tokenizer(), config)
    assert (len(rows.train), rows.facts.source) == (128, "pydoc_data.topics")


def row(*tokens: int, labels: tuple[int, ...] | None = None) -> dict[str, Any]:
    return {"input_ids": list(tokens), "attention_mask": [1] * len(tokens), "labels": list(labels or tokens)}


@pytest.mark.parametrize("zeros", [(), ("token_type_ids",), ("token_type_ids", "mm_token_type_ids")])
def test_collator_pads_on_the_right(zeros: tuple[str, ...]) -> None:
    batch = Collator(9, zeros)([row(1, 2, 3), row(4)])
    assert {name: tensor.tolist() for name, tensor in batch.items()} == {
        "input_ids": [[1, 2, 3], [4, 9, 9]],
        "attention_mask": [[1, 1, 1], [1, 0, 0]],
        "labels": [[1, 2, 3], [4, -100, -100]],
        **{name: [[0, 0, 0], [0, 0, 0]] for name in zeros},
    }


def test_fingerprints_do_not_see_the_padding() -> None:
    rows = [row(1, 2, 3), row(4, 0)]
    alone = tuple(batch_fingerprints(Collator(0)([each]))[0] for each in rows)
    assert alone == tuple(row_fingerprint(each["input_ids"], each["labels"]) for each in rows)
    assert alone == batch_fingerprints(Collator(0)(rows)) == batch_fingerprints(Collator(7)(rows))
    assert batch_fingerprints(Collator(0)(rows[::-1])) == alone[::-1]


@pytest.mark.parametrize(
    "other", [row(1, 2), row(1, 2, 4), row(3, 2, 1), row(12, 3), row(1, 2, 3, labels=(-100, 2, 3)), row(1, 2, 3, 0)]
)
def test_fingerprints_see_tokens_and_labels(other: dict[str, Any]) -> None:
    first, second = batch_fingerprints(Collator(0)([row(1, 2, 3), other]))
    assert first != second


def test_fingerprints_without_a_mask() -> None:
    batch = {name: torch.tensor([[1, 2]]) for name in ("input_ids", "labels")}
    assert batch_fingerprints(batch) == (row_fingerprint([1, 2], [1, 2]),)
