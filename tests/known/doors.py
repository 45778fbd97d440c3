"""What gacheck says of a training at its doors."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import gacheck
from gacheck.words.analysis import Analysis
from tests.known.training import Training


def check(training: Training) -> Analysis:
    """Check the Trainer once."""
    return gacheck.check(training.make())


def attach(training: Training) -> Analysis:
    """Watch a training."""
    return watch(training.make())


def watch(trainer: Any) -> Analysis:
    """Watch a Trainer while it trains."""
    attachment = gacheck.attach(trainer)
    with warnings.catch_warnings():
        # That it warns is known; what it says is asked of the analysis.
        warnings.simplefilter("ignore", gacheck.FaultWarning)
        trainer.train()
    assert attachment.analysis is not None
    return attachment.analysis


DOORS: dict[str, Callable[[Training], Analysis]] = {"check": check, "attach": attach}
