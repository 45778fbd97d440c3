"""Batches of any structure: how many rows they have, some of them, and two put together."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from gacheck.watch.batches import as_given, fresh, joined, named, num_rows, rows_of

IDS = torch.arange(12).reshape(4, 3)
SIDES = {"query": {"ids": IDS}, "answers": [{"ids": IDS}, {"ids": IDS + 1}], "weight": 2.0}

# In every image three.
FOUND = {"pixels": torch.zeros(4, 1, 2, 2), "labels": [{"boxes": torch.full((3, 4), float(n))} for n in range(4)]}


@pytest.mark.parametrize(
    ("batch", "rows"),
    [
        ({"ids": IDS, "names": ["a"] * 4, "weight": torch.tensor(1.0)}, 4),
        ({"query": {"ids": IDS, "mask": IDS}, "width": [1, 2]}, 4),
        (SIDES, 4),
        (named([{"ids": [1, 2]}, {"ids": [3]}]), 2),
        # Rows that are tensors are rows.
        (named([{"ids": IDS[0]}, {"ids": IDS[1]}]), 2),
        # So are the objects to be found, of as many images as lie beside: no sides of a comparison.
        (FOUND, 4),
        (named(object()), 0),
        ({"weight": 2.0}, 0),
    ],
)
def test_the_rows_of_a_batch(batch: Any, rows: int) -> None:
    assert num_rows(batch) == rows


def test_some_rows_are_taken_at_every_depth() -> None:
    some: Any = rows_of(SIDES, [1, 2])

    assert some["query"]["ids"].tolist() == IDS[1:3].tolist()
    assert [each["ids"].tolist() for each in some["answers"]] == [IDS[1:3].tolist(), (IDS[1:3] + 1).tolist()]
    assert some["weight"] == 2.0


def test_objects_to_be_found_go_with_their_images() -> None:
    some: Any = rows_of(FOUND, [2])
    both: Any = joined(some, rows_of(FOUND, [0]))

    assert some["pixels"].shape == (1, 1, 2, 2)
    assert [float(each["boxes"].mean()) for each in both["labels"]] == [2.0, 0.0]
    assert len(both["pixels"]) == 2


def test_two_batches_are_put_together_at_every_depth() -> None:
    one: Any = {"query": {"ids": IDS[:1]}, "answers": [{"ids": IDS[:1]}]}
    other: Any = {"query": {"ids": IDS[1:2, :2]}, "answers": [{"ids": IDS[1:2]}]}

    both = joined(one, other)

    assert both["query"]["ids"].tolist() == [[0, 1, 2], [3, 4, 0]]
    assert both["answers"][0]["ids"].tolist() == IDS[:2].tolist()
    with pytest.raises(ValueError, match="weight"):
        joined({"weight": 1.0}, {"weight": 1.0})


def test_what_has_no_names_is_given_as_it_came() -> None:
    rows = [{"ids": [1, 2]}]

    batch = named(rows)
    copied = as_given(fresh(batch))

    assert not batch
    assert copied == rows
    assert named(SIDES) is SIDES
    assert as_given(SIDES) is SIDES
