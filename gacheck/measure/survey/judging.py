"""One item of a survey, trained for two steps in the process of a worker. What it imports is loaded once for all."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from gacheck.config import ExperimentConfig, RunConfig
from gacheck.errors import GacheckError, one_line
from gacheck.frames import place_of
from gacheck.measure.experiment import begin_record, run_passes
from gacheck.measure.isolation.processes import limit_memory
from gacheck.measure.models.building import language_model_types
from gacheck.measure.models.longest import TooLongError
from gacheck.measure.session import Session, quiet_libraries
from gacheck.record.command import SMOKE
from gacheck.record.run import RunRecord
from gacheck.record.survey import SurveyItem, SurveyRow
from gacheck.rules.task import CAUSAL_LM


def prepare(memory_limit: int) -> None:
    """Prepare a worker's process: one thread, since there are many workers, and an end to its memory.

    Args:
        memory_limit: Bytes that it may have beyond what the libraries take; a system that cannot limit it does not.
    """
    torch.set_num_threads(1)
    quiet_libraries()
    limit_memory(memory_limit)


def judge(item: SurveyItem, train: Callable[[SurveyItem], RunRecord] | None = None) -> SurveyRow:
    """Train the stand-in of an item; say why where that fails.

    Args:
        item: What to train.
        train: Trains it; by default for two steps at k = 4, with the flag on and off.
    """
    started = time.perf_counter()
    training, reason = None, None
    try:
        training = (train or _train)(item)
    except GacheckError as error:
        reason = one_line(f"{error.what} {error.why}")
    except MemoryError:
        reason = "It needs more memory than the limit."
    except Exception as error:  # a row must not end the survey
        reason = f"{type(error).__name__}: {one_line(error)}{place_of(error)}."
    return SurveyRow(item=item, seconds=round(time.perf_counter() - started, 3), training=training, reason=reason)


def named_task(item: SurveyItem) -> str | None:
    """Return the task where it has to be named: a language model is one unless it is to be given images."""
    is_language_model = item.class_name in language_model_types().values()
    return item.task if is_language_model and item.task != CAUSAL_LM.name else None


def config_of(item: SurveyItem) -> ExperimentConfig:
    """Return how an item is trained."""
    return RunConfig(model=f"tiny:{item.name}", task=named_task(item), **SMOKE).experiment()


def session_of(item: SurveyItem) -> tuple[ExperimentConfig, Session]:
    """Load what an item is trained with; of a model that takes few tokens the rows are as short."""
    config = config_of(item)
    try:
        return config, Session(config)
    except TooLongError as error:
        config = config.model_copy(update={"max_length": error.works})
        return config, Session(config)


def _train(item: SurveyItem) -> RunRecord:
    config, session = session_of(item)
    record = begin_record(config, session)
    oracle = record.oracle
    return run_passes(record, lambda spec: session.run_pass(spec, oracle, lambda: None), lambda saved: None)
