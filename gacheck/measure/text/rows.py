"""Text → rows → effective batches.

Rows of the built-in text are of deliberately unequal length: with equal counts of target tokens the mean of means
equals the token-weighted mean, and a wrong weighting cannot be seen.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from datasets import Dataset
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence

from gacheck.config import ExperimentConfig
from gacheck.errors import DataError, one_line
from gacheck.measure.text.chats import Chat, render_chat
from gacheck.measure.text.sources import TextSource
from gacheck.record.run import DataFacts
from gacheck.rules.task import IGNORE_INDEX
from gacheck.watch.batches import Batch, row_fingerprint

SHORTEST_ROW = 8
SHORTEST_LENGTH = 16  # of max_length, that rows still differ
SHORTEST_SAMPLE = 2  # one token to predict another from
NUM_HELDOUT_ROWS = 16


@dataclass(frozen=True)
class Rows:
    """Tokenised rows.

    Attributes:
        train: What the Trainer is fed, by number.
        heldout: What no pass sees.
        facts: For the record.
    """

    train: Any
    heldout: Any
    facts: DataFacts


def make_rows(source: TextSource, tokenizer: Any, config: ExperimentConfig) -> Rows:
    """Make as many rows as the largest pass needs, and held-out rows after them, reading no further than that.

    Packed, every row is `max_length` long. Otherwise a sample of the user's is a row, and the built-in text, whose
    samples are pages, is cut into rows of unequal length.

    Raises:
        DataError: There is too little text for the plan, or it cannot be read.
        ResourceError: The hub cannot be reached.
    """
    cut = _packed_rows if config.packing else _unequal_rows if config.dataset is None else _sample_rows
    rows = cut(source, tokenizer, config)
    fingerprints = [row_fingerprint(ids, ids) for ids in rows]
    facts = DataFacts(
        source=source.name,
        num_rows=config.num_rows,
        num_heldout_rows=NUM_HELDOUT_ROWS,
        min_length=min(map(len, rows)),
        max_length=max(map(len, rows)),
        fingerprint=hashlib.sha256("".join(fingerprints).encode()).hexdigest(),
    )
    fed = [{"input_ids": ids, "attention_mask": [1] * len(ids), "labels": ids} for ids in rows]
    train, heldout = Dataset.from_list(fed[: config.num_rows]), Dataset.from_list(fed[config.num_rows :])
    return Rows(train, heldout, facts)


def longest_row_of(config: ExperimentConfig, num_tokens: int) -> int:
    """Return the largest `max_length` at which no row has more tokens."""
    return 2 * num_tokens if config.dataset is None and not config.packing else num_tokens


def _num_needed(config: ExperimentConfig) -> int:
    return config.num_rows + NUM_HELDOUT_ROWS


def _unequal_rows(source: TextSource, tokenizer: Any, config: ExperimentConfig) -> list[list[int]]:
    lengths = _unequal_lengths(config)
    tokens = _concatenate(_tokenise(source, tokenizer, []), sum(lengths))
    if len(tokens) < sum(lengths):
        raise _too_few_tokens(source, len(tokens), sum(lengths), config)
    ends = list(itertools.accumulate(lengths))
    return [tokens[end - length : end] for end, length in zip(ends, lengths, strict=True)]


def _unequal_lengths(config: ExperimentConfig) -> list[int]:
    longest = max(SHORTEST_ROW, config.max_length // 2)
    generator = random.Random(config.seed)
    return [_unequal_length(generator, longest) for _ in range(_num_needed(config))]


def _unequal_length(generator: random.Random, longest: int) -> int:
    """Draw log-uniformly: short rows are as common as long ones, so micro-batches differ even after averaging."""
    return round(SHORTEST_ROW * math.exp(generator.random() * math.log(longest / SHORTEST_ROW)))


def _packed_rows(source: TextSource, tokenizer: Any, config: ExperimentConfig) -> list[list[int]]:
    """Concatenate the samples, each ended, and cut at `max_length`; what is left over is dropped.

    Source: PretrainDatasetProcessor of LLaMA-Factory.
    """
    num_rows, length = _num_needed(config), config.max_length
    tokens = _concatenate(_tokenise(source, tokenizer, _end(tokenizer)), num_rows * length)
    if len(tokens) < num_rows * length:
        raise _too_few_tokens(source, len(tokens), num_rows * length, config)
    return [tokens[start : start + length] for start in range(0, num_rows * length, length)]


def _sample_rows(source: TextSource, tokenizer: Any, config: ExperimentConfig) -> list[list[int]]:
    """Return a row for every sample, ended and then truncated, of those that are long enough to predict anything."""
    num_rows, num_left_out = _num_needed(config), 0
    rows: list[list[int]] = []
    for ids in _tokenise(source, tokenizer, _end(tokenizer)):
        if len(ids) < SHORTEST_SAMPLE:
            num_left_out += 1
            continue
        rows.append(ids[: config.max_length])
        if len(rows) == num_rows:
            return rows
    left_out = f", besides {num_left_out} of a single token, in which nothing is predicted" if num_left_out else ""
    raise DataError(
        f"{source.name} has {len(rows)} samples{left_out}; the plan needs {num_rows} rows, one sample each.",
        why=f"Every pass trains on {config.num_rows} fresh rows, and the held-out loss needs {NUM_HELDOUT_ROWS} more.",
        fix=_smaller_plan(config, len(rows)),
    )


def _too_few_tokens(source: TextSource, num_tokens: int, num_needed: int, config: ExperimentConfig) -> DataError:
    num_rows = _num_needed(config)
    works = config.max_length
    while works >= SHORTEST_LENGTH and _num_tokens(config.model_copy(update={"max_length": works})) > num_tokens:
        works //= 2
    shorter = f"write  --max-length {works}, or " if works >= SHORTEST_LENGTH else ""
    return DataError(
        f"{source.name} has {num_tokens} tokens; {num_rows} rows need {num_needed}.",
        why="Every pass trains on fresh rows, and the held-out loss needs more.",
        # Rows differ in length: fewer of them may be longer ones.
        fix=shorter + _smaller_plan(config, num_tokens * num_rows * 9 // (num_needed * 10)).removeprefix("write  "),
    )


def _num_tokens(config: ExperimentConfig) -> int:
    return _num_needed(config) * config.max_length if config.packing else sum(_unequal_lengths(config))


def _smaller_plan(config: ExperimentConfig, num_rows: int) -> str:
    """Say with which options so many rows are enough."""
    left, least = num_rows - NUM_HELDOUT_ROWS, math.lcm(*config.gradient_accumulation_steps)
    rows_a_step = config.num_rows // config.max_steps
    more = "or name more text with --dataset"
    if config.per_device_train_batch_size is None and left // config.max_steps >= least:
        return f"write  --effective-batch-size {left // config.max_steps // least * least}, {more}"
    if left >= rows_a_step:
        return f"write  --max-steps {left // rows_a_step}, {more}"
    if config.per_device_train_batch_size is None and left >= least:
        return f"write  --max-steps {left // least} --effective-batch-size {least}, {more}"
    return f"name more text with --dataset: {NUM_HELDOUT_ROWS + least} rows are the least at these k"


def _end(tokenizer: Any) -> list[int]:
    return [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]


def _tokenise(source: TextSource, tokenizer: Any, end: list[int]) -> Iterator[list[int]]:
    """Yield the tokens of every sample, `end` after each."""
    for number, sample in enumerate(source.texts(), start=1):
        text = sample if isinstance(sample, str) else _rendered(sample, tokenizer, f"row {number} of {source.name}")
        yield tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"] + end


def _rendered(chat: Chat, tokenizer: Any, place: str) -> str:
    try:
        return render_chat(chat, tokenizer)
    except Exception as error:  # a template refuses in its own words
        raise DataError(
            f"The chat template of the tokenizer refuses {place}: {one_line(error)}",
            why="A chat is made one text as the model's own template says.",
            fix="fix or delete the row, or give text:  --text-column with a column that holds it",
        ) from error


def _concatenate(samples: Iterator[list[int]], enough: int) -> list[int]:
    """Join samples until there is enough."""
    tokens: list[int] = []
    for ids in samples:
        tokens += ids
        if len(tokens) >= enough:
            break
    return tokens[:enough]


@dataclass(frozen=True)
class Collator:
    """Pad rows on the right to the longest of the batch.

    Attributes:
        pad_token_id: Fills `input_ids`; labels are filled with -100, everything else with 0.
        zeros: Inputs that the model demands besides, all zero for text (`token_type_ids` of Gemma3).
        length: All rows are padded to so many tokens, where the model takes no other.
    """

    pad_token_id: int
    zeros: tuple[str, ...] = ()
    length: int = 0

    def __call__(self, rows: Sequence[dict[str, Any]]) -> Batch:
        """Return (rows, tokens) tensors."""
        fill = {"input_ids": self.pad_token_id, "labels": IGNORE_INDEX}
        batch = {name: self._padded([row[name] for row in rows], fill.get(name, 0)) for name in rows[0]}
        return batch | {name: torch.zeros_like(batch["input_ids"]) for name in self.zeros}

    def _padded(self, values: Sequence[list[int]], fill: int) -> torch.Tensor:
        padded = pad_sequence([torch.tensor(each) for each in values], True, fill)
        return pad(padded, (0, max(0, self.length - padded.shape[1])), value=fill)
