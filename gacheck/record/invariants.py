"""What holds of every record, checked whenever one is made or read: ranges, and parts that agree with each other.

Numbers that a training gave are left alone, for a broken training may give any; what gacheck counted itself is checked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, Field

from gacheck.rules.facts import GradientProducts, MicroBatchRecord, Observation, StepRecord

if TYPE_CHECKING:
    from gacheck.record.parts import PassRecord, TrainingRecord

# What a column of a database, or of a table of numbers, still holds.
MOST = 2**63 - 1


def _not_negative(value: float) -> float:
    if value < 0:
        raise ValueError("it is below 0")
    return value  # NaN too: what could not be computed is no lie


Count = Annotated[int, Field(ge=0, le=MOST)]
"""How many there are of something."""
AtLeastOne = Annotated[int, Field(ge=1, le=MOST)]
"""How many there are of something of which there is always one."""
NotNegative = Annotated[float, AfterValidator(_not_negative)]
"""A size, such as of an error or of a time."""


def check_pass(record: PassRecord, expected_id: str) -> None:
    """Refuse a pass that contradicts itself.

    Args:
        record: The pass.
        expected_id: That its k and its flag give.

    Raises:
        ValueError: It does.
    """
    if record.id != expected_id:
        raise ValueError(f"the pass {record.id} has the k and the flag of {expected_id}")
    if (record.status == "failed") != (record.error is not None):
        raise ValueError(f"the pass {record.id} {'failed without' if record.error is None else 'is ok with'} an error")
    for step in record.steps:
        _check_step(step)
    numbers = [step.step for step in record.steps]
    if any(later <= earlier for earlier, later in pairwise(numbers)):
        raise ValueError(f"the steps of the pass {record.id} do not follow one another")


def check_passes(record: TrainingRecord, planned: Iterable[str]) -> None:
    """Refuse passes that nobody planned, and one that is there twice.

    Raises:
        ValueError: There is one.
    """
    check_once("pass", [each.id for each in record.all_passes], planned)


def check_once(kind: str, ids: Iterable[str], planned: Iterable[str]) -> None:
    """Refuse what is there twice, or was not planned.

    Raises:
        ValueError: There is such a thing.
    """
    counts, wanted = Counter(ids), set(planned)
    twice = next((each for each, count in counts.items() if count > 1), None)
    if twice is not None:
        raise ValueError(f"the {kind} {twice} is there twice")
    foreign = next((each for each in counts if each not in wanted), None)
    if foreign is not None:
        raise ValueError(f"the {kind} {foreign} was not planned")


def _check_step(step: StepRecord) -> None:
    if step.step < 0:
        raise ValueError(f"step {step.step} is below 0")
    for micro_batch in step.micro_batches:
        _check_micro_batch(micro_batch)
    for products in step.gradients:
        _check_products(products)


def _check_micro_batch(micro_batch: MicroBatchRecord) -> None:
    _check_not_negative(micro_batch, "process")
    seen = micro_batch.observation
    if seen is None:
        return
    _check_not_negative(seen, "num_target_tokens", "num_label_tokens", "num_rows", "noise_nats", "own_noise_nats")
    if seen.gradient is not None:
        _check_products(seen.gradient)


def _check_products(products: GradientProducts) -> None:
    _check_not_negative(products, "square", "noise")
    size = len(products.with_replays)
    if len(products.among_replays) != size * (size + 1) // 2:
        raise ValueError(f"{size} replays do not have {len(products.among_replays)} products among them")


def _check_not_negative(facts: MicroBatchRecord | Observation | GradientProducts, *names: str) -> None:
    for name in names:
        value = getattr(facts, name)
        if value < 0 or (isinstance(value, int) and value > MOST):
            raise ValueError(f"{name} is {value}")
