"""What one trial is: every choice that a training needs."""

from __future__ import annotations

from dataclasses import dataclass

CHECK, CHECK_MODEL, ATTACH, RUN = "check(trainer)", "check(model)", "attach", "run"
"""The doors."""
TEXT = "text of gacheck's own"
"""The data behind the door `run`."""
MADE_UP = "rows of gacheck's own for the head"
"""The data behind the doors that take a model alone, or its name, where it is a head."""


@dataclass(frozen=True)
class Draw:
    """One training, and the door through which it is judged.

    Attributes:
        seed: Of weights, rows and order.
        objective: What is trained; a key of `objectives.OBJECTIVES`.
        fault: What is planted; a key of `faults.FAULTS`, or None in a right training.
        body: Of the model; a key of `building.BODIES`.
        data: A key of `batches.DATA` or `head_rows.HEAD_DATA`, `TEXT` or `MADE_UP`.
        precision: A key of `building.DTYPES`.
        door: One of the doors.
        k: `gradient_accumulation_steps`.
        rows: Of a micro-batch.
        tail: How many micro-batches the second step has; k unless the epoch ends in it.
        missing: Rows that the epoch's last micro-batch is short of.
    """

    seed: int
    objective: str
    fault: str | None
    body: str
    data: str
    precision: str
    door: str
    k: int
    rows: int
    tail: int
    width: int = 16
    layers: int = 1
    vocabulary: int = 64
    spread: float = 0.02
    optim: str = "adamw_torch"
    learning_rate: float = 1e-3
    max_grad_norm: float = 1.0
    missing: int = 0
    average_tokens_across_devices: bool = True

    @property
    def num_rows(self) -> int:
        """Rows of the data set: the two steps of one epoch."""
        return (self.k + self.tail) * self.rows - self.missing
