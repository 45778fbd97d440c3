"""What `run` and `smoke` share: a record is begun, and passes are added to it."""

from __future__ import annotations

import re
import sys
from datetime import datetime
from typing import TYPE_CHECKING

from gacheck.config import ExperimentConfig
from gacheck.environment import installed_version, read_environment
from gacheck.errors import UsageError
from gacheck.record import RunRecord

if TYPE_CHECKING:
    from gacheck.training.session import Session

OLDEST_TRANSFORMERS = (4, 46)


def check_transformers() -> None:
    """Refuse a transformers without the flag, before it is imported.

    Raises:
        UsageError: It is missing or too old.
    """
    version = installed_version("transformers")
    numbers = tuple(int(part) for part in re.findall(r"\d+", version or "")[:2])
    if numbers < OLDEST_TRANSFORMERS:
        raise UsageError(
            f"transformers {version or 'is not installed'}: gacheck needs 4.46 or newer.",
            why="Older Trainers have no model_accepts_loss_kwargs; they always take the mean of means.",
            fix='pip install -U "transformers>=4.46"',
        )


def begin_record(config: ExperimentConfig, session: Session) -> RunRecord:
    """Compute the right answer; return a record that lacks nothing but passes."""
    return RunRecord(
        created_at=datetime.now().astimezone().isoformat(timespec="seconds"),
        command=("gacheck", *sys.argv[1:]),
        config=config,
        learning_rate=session.learning_rate,
        environment=read_environment(),
        hardware=session.hardware,
        model=session.model,
        data=session.data,
        oracle=session.measure_oracle(),
    )
