"""Text → rows → effective batches.

Rows are of deliberately unequal length: with equal counts of target tokens the mean of means equals the
token-weighted mean, and a wrong weighting cannot be seen.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from datasets import Dataset
from torch.nn.utils.rnn import pad_sequence

from gacheck.config import ExperimentConfig
from gacheck.errors import DataError
from gacheck.record import DataFacts

IGNORE_INDEX = -100
SHORTEST_ROW = 8
NUM_HELDOUT_ROWS = 16

Batch = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Rows:
    """Tokenised rows: `train` is what the Trainer is fed, `heldout` what no pass sees."""

    train: Dataset
    heldout: Dataset
    facts: DataFacts


def builtin_texts() -> Iterator[str]:
    """Yield the English of Python's own language reference, which every installation has."""
    from pydoc_data.topics import topics

    yield from (topics[name] for name in sorted(topics))


def row_fingerprint(input_ids: Sequence[int], labels: Sequence[int]) -> str:
    """Identify a row by its tokens and labels, padding left out."""
    text = ",".join(map(str, input_ids)) + "|" + ",".join(map(str, labels))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def batch_fingerprints(batch: Batch) -> tuple[str, ...]:
    """Identify the rows of a batch of (rows, tokens) tensors; what `attention_mask` masks is left out."""
    input_ids, labels = batch["input_ids"].cpu(), batch["labels"].cpu()
    mask = batch["attention_mask"].cpu().bool() if "attention_mask" in batch else torch.ones_like(input_ids).bool()
    return tuple(
        row_fingerprint(ids[kept].tolist(), marked[kept].tolist())
        for ids, marked, kept in zip(input_ids, labels, mask, strict=True)
    )


def make_rows(texts: Iterator[str], source: str, tokenizer: Any, config: ExperimentConfig) -> Rows:
    """Cut text into as many rows as the largest pass needs, and held-out rows after them.

    Raises:
        DataError: There is too little text for the plan.
    """
    num_rows = config.num_rows + NUM_HELDOUT_ROWS
    longest = max(SHORTEST_ROW, config.max_length // 2)
    generator = random.Random(config.seed)
    lengths = [_unequal_length(generator, longest) for _ in range(num_rows)]
    tokens = _tokenise(texts, tokenizer, sum(lengths))
    if len(tokens) < sum(lengths):
        raise DataError(
            f"{source} has {len(tokens)} tokens; {num_rows} rows need {sum(lengths)}.",
            why="Every pass trains on fresh rows, and the held-out loss needs more.",
            fix="lower --max-steps, --max-length or the batch size",
        )
    rows, start = [], 0
    for length in lengths:
        ids = tokens[start : start + length]
        rows.append({"input_ids": ids, "attention_mask": [1] * length, "labels": ids})
        start += length
    fingerprints = [row_fingerprint(row["input_ids"], row["labels"]) for row in rows]
    facts = DataFacts(
        source=source,
        num_rows=config.num_rows,
        num_heldout_rows=NUM_HELDOUT_ROWS,
        min_length=min(lengths),
        max_length=max(lengths),
        fingerprint=hashlib.sha256("".join(fingerprints).encode()).hexdigest(),
    )
    return Rows(
        train=Dataset.from_list(rows[: config.num_rows]),
        heldout=Dataset.from_list(rows[config.num_rows :]),
        facts=facts,
    )


def _unequal_length(generator: random.Random, longest: int) -> int:
    """Draw log-uniformly: short rows are as common as long ones, so micro-batches differ even after averaging."""
    return round(SHORTEST_ROW * math.exp(generator.random() * math.log(longest / SHORTEST_ROW)))


def _tokenise(texts: Iterator[str], tokenizer: Any, enough: int) -> list[int]:
    """Tokenise text by text until there is enough."""
    tokens: list[int] = []
    for text in texts:
        tokens += tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        if len(tokens) >= enough:
            break
    return tokens[:enough]


@dataclass(frozen=True)
class Collator:
    """Pad rows on the right to the longest of the batch.

    Attributes:
        pad_token_id: Fills `input_ids`; labels are filled with -100, everything else with 0.
        zeros: Inputs that the model demands besides, all zero for text (`token_type_ids` of Gemma3).
    """

    pad_token_id: int
    zeros: tuple[str, ...] = ()

    def __call__(self, rows: Sequence[dict[str, Any]]) -> Batch:
        """Return (rows, tokens) tensors."""
        fill = {"input_ids": self.pad_token_id, "labels": IGNORE_INDEX}
        batch = {
            name: pad_sequence([torch.tensor(row[name]) for row in rows], True, fill.get(name, 0)) for name in rows[0]
        }
        return batch | {name: torch.zeros_like(batch["input_ids"]) for name in self.zeros}
