"""The rows: two steps of 2 rows × k = 4, all tokens drawn at random."""

from __future__ import annotations

from random import Random

from tests.trials.batches import Row, by_heart, one_target, packed

K = 4
ROWS_OF_A_MICRO_BATCH = 2
ROWS_OF_A_STEP = K * ROWS_OF_A_MICRO_BATCH
VOCABULARY = 300
MEMORY = 64

LENGTHS = (9, 30, 12, 40, 8, 34, 21, 17, 22, 5, 31, 10, 14, 27, 6, 33)
"""171 labels and 163 targets in the first step, 140 targets in the second; short and long micro-batches."""

TARGETS, LABELS, NEXT_TARGETS = 163, 171, 140


def _tokens(random: Random, length: int) -> list[int]:
    return [random.randrange(1, VOCABULARY) for _ in range(length)]


def _drawn() -> tuple[Row, ...]:
    random = Random(0)
    rows = [_tokens(random, length) for length in LENGTHS]
    return tuple({"input_ids": tokens, "labels": tokens} for tokens in rows)


def _of_kind(draw: object, vocabulary: int) -> tuple[Row, ...]:
    assert callable(draw)
    random = Random(0)
    return tuple(draw(random, vocabulary) for _ in range(2 * ROWS_OF_A_STEP))


def _pairs() -> tuple[Row, ...]:
    random = Random(0)

    def side(length: int) -> Row:
        tokens = _tokens(random, length)
        return {"input_ids": tokens, "labels": tokens, "reference_logp": random.uniform(-60.0, -10.0)}

    lengths = (*LENGTHS, *LENGTHS[::-1])
    return tuple({"chosen": side(a), "rejected": side(b)} for a, b in zip(lengths[::2], lengths[1::2], strict=True))


UNEQUAL = _drawn()
ONE_ANSWER = _of_kind(one_target, VOCABULARY)
PACKED = _of_kind(packed, VOCABULARY)
BY_HEART = _of_kind(by_heart, MEMORY)
PAIRS = _pairs()
