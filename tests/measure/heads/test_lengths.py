"""Models that take rows of one length alone, or of some length at least."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from gacheck.config import ExperimentConfig
from gacheck.measure.heads.collator import HeadCollator
from gacheck.measure.models.inputs import demanded_length
from gacheck.measure.session import Session
from gacheck.measure.text.rows import Collator


def session_of(name: str) -> Session:
    return Session(ExperimentConfig.model_validate({"model": f"tiny:{name}", "max_steps": 1}))


@pytest.mark.parametrize(
    ("told", "least", "length"),
    [
        ("Got prod((16, 16)) != sequence_length: 8. Consider padding your sequence length to 256", 62, 256),
        ("consider padding the input to a length of 64", 64, 64),
        ("consider padding the input to a length of 64", 65, None),
        ("a sequence length of 999999", 8, None),
        ("mat1 and mat2 shapes cannot be multiplied (320x80 and 320x64)", 8, None),
    ],
)
def test_a_length_is_read_from_an_error(told: str, least: int, length: int | None) -> None:
    assert demanded_length(ValueError(told), least) == length


def test_what_has_a_number_for_every_token_is_padded() -> None:
    def row(*ids: int) -> dict[str, Any]:
        return {"input_ids": torch.tensor(ids), "labels": torch.tensor(ids), "start_positions": torch.tensor(1)}

    batch = HeadCollator(9, length=4)([row(1, 2, 3), row(4)])
    assert batch["input_ids"].tolist() == [[1, 2, 3, 9], [4, 9, 9, 9]]
    assert batch["labels"].tolist() == [[1, 2, 3, -100], [4, -100, -100, -100]]
    assert batch["start_positions"].tolist() == [1, 1]


def test_a_text_is_padded() -> None:
    batch = Collator(9, length=4)([{"input_ids": [1, 2, 3], "labels": [1, 2, 3]}, {"input_ids": [4], "labels": [4]}])
    assert batch["input_ids"].tolist() == [[1, 2, 3, 9], [4, 9, 9, 9]]
    assert batch["labels"].tolist() == [[1, 2, 3, -100], [4, -100, -100, -100]]


@pytest.mark.parametrize("name", ["reformer", "ReformerForSequenceClassification"])
def test_rows_are_as_long_as_the_axes_of_positions(name: str) -> None:
    model, rows, collate = session_of(name).material
    batch = collate([rows[0], rows[1]])

    assert model.training
    assert batch["input_ids"].shape == (2, 256)
    # The same twice: nothing is hashed at random.
    assert model(**batch).loss.equal(model(**batch).loss)


@pytest.mark.parametrize("name", ["big_bird", "BigBirdForTokenClassification"])
def test_short_rows_are_attended_to_in_blocks(name: str) -> None:
    model, rows, collate = session_of(name).material
    model(**collate([min((rows[place] for place in range(len(rows))), key=lambda row: len(row["input_ids"]))]))
    assert model.base_model.attention_type == "block_sparse"
