"""What the child of an isolated run does: it loads the session once, and keeps it for all passes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from gacheck.config import ExperimentConfig
from gacheck.errors import CrashError, GacheckError, one_line
from gacheck.frames import place_of
from gacheck.measure.isolation.session import Failure
from gacheck.measure.passes.runner import StepDone
from gacheck.measure.session import Session, quiet_libraries
from gacheck.record.parts import HardwareFacts, ModelFacts, OracleRecord, PassRecord
from gacheck.record.plan import PassSpec
from gacheck.record.run import DataFacts, Fingerprints
from gacheck.rules.facts import Flag


class Opened(NamedTuple):
    """What is known of a session before anything is measured."""

    model: ModelFacts
    data: DataFacts
    hardware: HardwareFacts
    learning_rate: float
    fingerprints: Fingerprints
    auto: Flag
    resolution: float


_sessions: list[Session] = []


def _session(config: ExperimentConfig) -> Session:
    """Return the one session of this process; it is loaded anew where a child took the place of one that died."""
    if not _sessions:
        _sessions.append(Session(config))
    return _sessions[0]


def _open(step_done: StepDone, config: ExperimentConfig) -> Opened:
    session = _session(config)
    return Opened(
        session.model,
        session.data,
        session.hardware,
        session.learning_rate,
        session.fingerprints(),
        session.auto_loss_kwargs(),
        torch.finfo(getattr(torch, config.dtype)).eps,
    )


def _oracle(step_done: StepDone, config: ExperimentConfig) -> OracleRecord:
    return _session(config).ask_oracle()


def _pass(step_done: StepDone, config: ExperimentConfig, spec: PassSpec, oracle: OracleRecord) -> PassRecord:
    return _session(config).run_pass(spec, oracle, step_done)


def _with_failures(task: Callable[..., Any]) -> Callable[..., Any]:
    """Return what an error is an answer of, too."""

    def answer(*given: Any) -> Any:
        quiet_libraries()
        try:
            return task(*given)
        except GacheckError as error:
            return Failure(error)
        except Exception as error:  # the child has nobody to tell
            what = f"{type(error).__name__}: {one_line(error)}{place_of(error)}."
            return Failure(CrashError(what, why="Nobody expected this.", fix="try it without  --isolate"))

    return answer


answers = {name: _with_failures(task) for name, task in (("open", _open), ("oracle", _oracle), ("pass", _pass))}
"""By name: (called after every step, options, …) → an answer, or a Failure."""
